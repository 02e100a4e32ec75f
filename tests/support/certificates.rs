//! Keys and certificates, made for one test each and gone with it.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair, SignatureAlgorithm, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::program::program;
use super::starter::ID;

/// A directory of its own, removed at the end.
pub(crate) struct Dir(PathBuf);

/// A key, its certificate for localhost and 127.0.0.1, and who vouches for it; in memory and as files.
pub(crate) struct Site {
    pub(crate) dir: Dir,
    pub(crate) authority: CertificateDer<'static>,
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) key: PrivateKeyDer<'static>,
}

/// What is wrong with a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    None,
    Expired,
    WrongName,
    Untrusted,
}

impl Site {
    /// With a P-256 key, and nothing wrong with it.
    pub(crate) fn new() -> Self {
        Self::flawed(Flaw::None)
    }

    pub(crate) fn flawed(flaw: Flaw) -> Self {
        Self::make(flaw, &rcgen::PKCS_ECDSA_P256_SHA256)
    }

    pub(crate) fn with_key(algorithm: &'static SignatureAlgorithm) -> Self {
        Self::make(Flaw::None, algorithm)
    }

    /// With a certificate that is peculiar in this.
    pub(crate) fn peculiar(change: impl FnOnce(&mut CertificateParams)) -> Self {
        Self::made(&AUTHORITY, KeyPair::generate().unwrap(), change)
    }

    /// With these bytes in place of the certificate, in memory.
    pub(crate) fn showing(self, certificate: impl Into<Vec<u8>>) -> Self {
        Self { certificate: CertificateDer::from(certificate.into()), ..self }
    }

    /// With a key that openssl makes with these arguments.
    pub(crate) fn with_key_of_openssl(arguments: &[&str]) -> Self {
        let made = program("openssl").args(arguments).stderr(Stdio::null()).output().unwrap();
        let key = KeyPair::from_pem(&String::from_utf8(made.stdout.clone()).unwrap()).unwrap();
        let site = Self::vouched(&AUTHORITY, Flaw::None, key);
        fs::write(site.key(), made.stdout).unwrap();
        site
    }

    /// Vouched for by an authority that the known one vouches for.
    pub(crate) fn chained() -> Self {
        let between = Authority::below("an intermediate authority", &AUTHORITY);
        let site = Self::vouched(&between, Flaw::None, KeyPair::generate().unwrap());
        let chain = fs::read_to_string(site.cert()).unwrap() + &between.pem;
        fs::write(site.cert(), chain).unwrap();
        site
    }

    /// Vouched for by the authority, or where that is the flaw by one that nobody knows.
    fn make(flaw: Flaw, algorithm: &'static SignatureAlgorithm) -> Self {
        let unknown = Authority::new("another authority");
        Self::vouched(
            if flaw == Flaw::Untrusted { &unknown } else { &AUTHORITY },
            flaw,
            KeyPair::generate_for(algorithm).unwrap(),
        )
    }

    fn vouched(authority: &Authority, flaw: Flaw, key: KeyPair) -> Self {
        Self::made(authority, key, |params| match flaw {
            Flaw::WrongName => *params = CertificateParams::new(ELSEWHERE.map(str::to_owned)).unwrap(),
            Flaw::Expired => params.not_after = date_time_ymd(2020, 1, 1),
            Flaw::None | Flaw::Untrusted => {}
        })
    }

    fn made(authority: &Authority, key: KeyPair, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = CertificateParams::new(["localhost", "127.0.0.1"].map(str::to_owned)).unwrap();
        change(&mut params);
        let certificate = params.signed_by(&key, &authority.issuer).unwrap();
        let site = Self {
            dir: Dir::new(),
            authority: AUTHORITY.certificate.clone(),
            certificate: certificate.der().clone(),
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        };
        fs::write(site.ca(), &AUTHORITY.pem).unwrap();
        fs::write(site.cert(), certificate.pem()).unwrap();
        fs::write(site.key(), key.serialize_pem()).unwrap();
        keep(&site.key());
        site
    }

    /// The 32 bytes that are the secret of a P-256 key (RFC 5915 section 3; most significant first) or an Ed25519 key
    /// (RFC 8410 section 7).
    pub(crate) fn secret(&self) -> [u8; 32] {
        let der = self.key.secret_der();
        let find = |before: &[u8]| memchr::memmem::find(der, before).map(|at| at + before.len());
        let at = find(b"\x02\x01\x01\x04\x20").or_else(|| find(b"\x04\x22\x04\x20")).expect("a key of these kinds");
        *der[at..].first_chunk().unwrap()
    }

    /// The pin of a site's key, made as the manual of curl says.
    pub(crate) fn pin(&self) -> String {
        self.dir.pin(&self.cert())
    }

    /// The trust anchor's file.
    pub(crate) fn ca(&self) -> PathBuf {
        self.dir.file("ca.pem")
    }

    /// The certificate's file.
    pub(crate) fn cert(&self) -> PathBuf {
        self.dir.file("cert.pem")
    }

    /// The key's file, in PKCS#8.
    pub(crate) fn key(&self) -> PathBuf {
        self.dir.file("key.pem")
    }

    /// The key once more, as `openssl` writes it with these arguments.
    pub(crate) fn key_by_openssl(&self, arguments: &[&str]) -> PathBuf {
        self.by_openssl(&self.key(), "key-by-openssl", arguments)
    }

    /// The certificate once more.
    pub(crate) fn cert_by_openssl(&self, arguments: &[&str]) -> PathBuf {
        self.by_openssl(&self.cert(), "cert-by-openssl", arguments)
    }

    fn by_openssl(&self, file: &Path, name: &str, arguments: &[&str]) -> PathBuf {
        let out = self.dir.file(name);
        let mut command = program("openssl");
        command.args(arguments).arg("-in").arg(file).arg("-out").arg(&out).stderr(Stdio::null());
        assert!(command.status().unwrap().success(), "openssl {arguments:?} works");
        keep(&out);
        out
    }
}

/// For whoever starts the wrapper ([`Starter`](super::starter::Starter)), and not for everybody.
pub(crate) fn keep(key: &Path) {
    chown(key, None, Some(ID)).unwrap();
    fs::set_permissions(key, Permissions::from_mode(0o640)).unwrap();
}

impl Dir {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        // Of a test program that was killed and had this one's id.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The pin of this certificate's key, made as the manual of curl says.
    pub(crate) fn pin(&self, cert: &Path) -> String {
        let [public, der, digest] = ["public.pem", "public.der", "digest"].map(|name| self.file(name));
        let steps = [
            vec!["x509", "-in", cert.to_str().unwrap(), "-pubkey", "-noout", "-out", public.to_str().unwrap()],
            vec!["pkey", "-pubin", "-in", public.to_str().unwrap(), "-outform", "der", "-out", der.to_str().unwrap()],
            vec!["dgst", "-sha256", "-binary", "-out", digest.to_str().unwrap(), der.to_str().unwrap()],
        ];
        for step in steps {
            assert!(program("openssl").args(&step).status().unwrap().success(), "openssl {step:?}");
        }
        let base64 = program("openssl").args(["enc", "-base64", "-in"]).arg(&digest).output().unwrap().stdout;
        format!("sha256//{}", String::from_utf8(base64).unwrap().trim())
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const ELSEWHERE: [&str; 2] = ["elsewhere.example", "192.0.2.1"];

/// Who vouches.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pem: String,
}

impl Authority {
    fn new(name: &str) -> Self {
        Self::make(name, |params, key| params.self_signed(key))
    }

    fn below(name: &str, above: &Self) -> Self {
        Self::make(name, |params, key| params.signed_by(key, &above.issuer))
    }

    fn make(name: &str, sign: impl FnOnce(&CertificateParams, &KeyPair) -> Result<Certificate, rcgen::Error>) -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        // OpenSSL takes a certificate for self-signed if issuer and subject have one name.
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = sign(&params, &key).unwrap();
        let (der, pem) = (certificate.der().clone(), certificate.pem());
        Self { issuer: Issuer::new(params, key), certificate: der, pem }
    }
}

static AUTHORITY: LazyLock<Authority> = LazyLock::new(|| Authority::new("an authority"));
