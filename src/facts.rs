//! What a TLS handshake came to, whoever spoke TLS: this program, the UCSPI-TLS server before it, or whoever sent a PROXY
//! header. Each of them fills in what it knows; variables, PROXY headers and the session line tell nothing else.
//!
//! Names and values; how they came, and who hears them, is not known here.

use std::ffi::OsStr;
use std::fmt::{self, Display};

use crate::message::Quoted;

/// The longest `NAME=VALUE` that may tell prog of TLS, in bytes. Distinguished names have a few hundred.
pub const MAX_FACT: usize = 4096;

/// One TLS session, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// `TLSv1.3` and the like, as OpenSSL, s6-tlsd and mod_ssl spell it.
    pub version: Option<String>,
    /// The cipher suite's IANA name.
    pub cipher: Option<String>,
    /// The key exchange group.
    pub group: Option<String>,
    /// The name the client asked for (SNI).
    pub sni: Option<String>,
    /// The ALPN protocol that was agreed on.
    pub alpn: Option<Vec<u8>>,
    /// What became of the client's certificate.
    pub certificate: Certificate,
}

/// The client's certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Certificate {
    /// It showed none.
    #[default]
    None,
    /// It showed one, and nobody has said that it verified.
    Unverified,
    /// It showed one that did not verify, and why.
    Failed(String),
    /// It showed one that an anchor vouches for, and that it holds the key of.
    Verified(Verified),
}

/// A certificate that verified, as far as it is told of. Of another nothing is told: programs written for s6-tlsd take a
/// subject that is there for a verified one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Its hash, `SHA256:` and hexadecimal digits.
    pub hash: Option<String>,
    /// The subject as in RFC 4514, as mod_ssl has it.
    pub subject: Option<String>,
    /// The issuer likewise.
    pub issuer: Option<String>,
    /// The subject as s6-tlsd writes it.
    pub short_subject: Option<String>,
    /// The subject's common name.
    pub common_name: Option<String>,
}

impl Facts {
    /// The variables that tell of it, with the names of mod_ssl and s6-tlsd; each `NAME=VALUE`.
    pub fn variables(&self) -> Vec<String> {
        let mut variables = self.of_session();
        variables.extend(self.certificate.variables());
        variables
    }

    /// The same without the client's certificate.
    pub fn of_session(&self) -> Vec<String> {
        named([("SSL_PROTOCOL", &self.version), ("SSL_CIPHER", &self.cipher), ("SSL_TLS_SNI_SERVERNAME", &self.sni)])
    }

    /// The opposite: what variables tell, each `NAME=VALUE`.
    pub fn read(variables: &[String]) -> Self {
        let value = |wanted: &str| {
            let pairs = variables.iter().filter_map(|variable| variable.split_once('='));
            pairs.filter(|(name, _)| *name == wanted).map(|(_, value)| value.to_owned()).next()
        };
        let certificate = Verified {
            hash: value("SSL_PEER_CERT_HASH"),
            subject: value("SSL_CLIENT_S_DN"),
            issuer: value("SSL_CLIENT_I_DN"),
            short_subject: value("SSL_PEER_CERT_SUBJECT"),
            common_name: value("SSL_CLIENT_S_DN_CN"),
        };
        Self {
            version: value("SSL_PROTOCOL"),
            cipher: value("SSL_CIPHER"),
            group: None,
            sni: value("SSL_TLS_SNI_SERVERNAME"),
            alpn: None,
            certificate: Certificate::judged(value("SSL_CLIENT_VERIFY").as_deref(), certificate),
        }
    }
}

impl Certificate {
    /// A certificate by mod_ssl's verdict. Without one it has not verified, whatever is told of it: s6-ucspitlsd tells
    /// its hash and no verdict.
    fn judged(verdict: Option<&str>, certificate: Verified) -> Self {
        match verdict {
            Some("SUCCESS") => Self::Verified(certificate),
            Some("NONE") => Self::None,
            None if certificate == Verified::default() => Self::None,
            _ => match verdict.and_then(|verdict| verdict.strip_prefix("FAILED")) {
                Some(why) => Self::Failed(why.trim_start_matches(':').into()),
                None => Self::Unverified,
            },
        }
    }

    fn variables(&self) -> Vec<String> {
        let verdict = match self {
            Self::None => "NONE".into(),
            Self::Unverified => "FAILED".into(),
            Self::Failed(why) => format!("FAILED:{why}"),
            Self::Verified(_) => "SUCCESS".into(),
        };
        let mut variables = named([("SSL_CLIENT_VERIFY", &Some(verdict))]);
        if let Self::Verified(Verified { hash, subject, issuer, short_subject, common_name }) = self {
            // The whole subject has it.
            let common_name = if subject.is_some() { &None } else { common_name };
            variables.extend(named([
                ("SSL_PEER_CERT_HASH", hash),
                ("SSL_CLIENT_S_DN", subject),
                ("SSL_CLIENT_I_DN", issuer),
                ("SSL_PEER_CERT_SUBJECT", short_subject),
                ("SSL_CLIENT_S_DN_CN", common_name),
            ]));
        }
        variables
    }

    /// For the session line.
    pub fn word(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Unverified => "unverified",
            Self::Failed(_) => "failed",
            Self::Verified(_) => "ok",
        }
    }
}

/// For the session line.
impl Display for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [version, cipher, group] =
            [&self.version, &self.cipher, &self.group].map(|fact| fact.as_deref().unwrap_or("unknown"));
        let sni = self.sni.as_deref().unwrap_or("none");
        write!(f, "version={version} cipher={cipher} group={group} sni={}", Quoted(sni.as_bytes()))
    }
}

/// `NAME=VALUE` of each that is known.
fn named<const N: usize>(facts: [(&str, &Option<String>); N]) -> Vec<String> {
    let known = facts.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", value.as_ref()?)));
    known.filter(|variable| fits(variable)).collect()
}

/// Whether prog may be told so much. The keeper would take more for an attack; half a value would be another's.
pub fn fits(variable: &str) -> bool {
    variable.len() <= MAX_FACT
}

/// Whether a variable tells of a TLS session. Only this program may tell prog of one, so what it inherited is
/// removed always.
pub fn is_tls_fact(name: &OsStr) -> bool {
    TLS_FACTS.iter().any(|fact| *fact == name)
}

/// Whether a variable has the name of one that tells of TLS, be it this program's or another's. Those of OpenSSL that
/// say what is trusted tell nothing.
pub fn is_tls_variable(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b"SSL_")
        && !["SSL_CERT_FILE", "SSL_CERT_DIR"].iter().any(|other| *other == name)
}

/// Written into the environment of the prog inside TLS.
const TLS_FACTS: &[&str] = &[
    "SSL_PROTOCOL",
    "SSL_CIPHER",
    "SSL_VERSION_INTERFACE",
    "SSL_TLS_SNI_SERVERNAME",
    "SSL_CLIENT_VERIFY",
    "SSL_CLIENT_S_DN",
    "SSL_CLIENT_I_DN",
    "SSL_PEER_CERT_HASH",
    "SSL_PEER_CERT_SUBJECT",
    "SSL_GROUP",
    "SSL_ALPN",
    "SSL_SERVER_VERIFY",
    "SSL_SERVER_S_DN",
    "SSL_SERVER_I_DN",
    "SSL_SERVER_SAN",
    "SSL_SERVER_CERT_HASH",
    "SSL_SERVER_SPKI_PIN",
    "SSL_SERVER_V_START",
    "SSL_SERVER_V_END",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn known(certificate: Certificate) -> Facts {
        let [version, cipher, sni] = ["TLSv1.3", "TLS_AES_256_GCM_SHA384", "mx.example"].map(|fact| Some(fact.into()));
        Facts { version, cipher, sni, certificate, ..Facts::default() }
    }

    #[test]
    fn what_variables_tell_is_what_is_read_from_them() {
        let [hash, subject, issuer, short_subject, common_name] =
            ["SHA256:00", "CN=laptop,O=x", "CN=an authority", "O=x, CN=laptop", "laptop"].map(|fact| Some(fact.into()));
        let whole = Verified { hash, subject, issuer, short_subject, common_name: None };
        let name_alone = Verified { common_name, ..Verified::default() };
        for certificate in [
            Certificate::None,
            Certificate::Failed("expired".into()),
            Certificate::Verified(whole),
            Certificate::Verified(name_alone),
            Certificate::Verified(Verified::default()),
        ] {
            let facts = known(certificate);
            assert_eq!(Facts::read(&facts.variables()), facts);
        }
        assert_eq!(Facts::read(&[]), Facts::default());
    }

    #[test]
    fn a_fact_may_be_as_long_as_the_limit_and_no_longer() {
        for (length, told) in [(MAX_FACT - 1, true), (MAX_FACT, true), (MAX_FACT + 1, false)] {
            let cipher = Some("x".repeat(length - "SSL_CIPHER=".len()));
            let facts = Facts { cipher, ..Facts::default() };
            assert_eq!(facts.of_session().len(), usize::from(told), "{length} bytes");
        }
    }
}
