//! What `--help` prints.

/// The synopsis, for who got it wrong.
pub const SYNOPSIS: &str = "starttls-wrapper [options] host port prog..., --respawn prog..., --implicit prog..., --ucspi-tls prog...; see --help";

/// What `--help` prints.
pub const HELP: &str = "\
usage: starttls-wrapper [options] [--] host port prog...
       starttls-wrapper [options] --respawn [--] prog...
       starttls-wrapper [options] --implicit [--] prog...
       starttls-wrapper [options] --ucspi-tls [--] prog...

Runs prog, a mail server that knows no TLS, for the client at descriptors 0 and 1, and adds STARTTLS.
After STARTTLS the client speaks to the TLS server at host and port, or with --respawn to a fresh prog.
host is a name, an IPv4 address, an [IPv6] address, or unix:/path with - for the port.

dialogue:
  -r, --require-tls      refuse everything but the opening words before TLS
      --tls-deadline MS  with -r: close if there is no STARTTLS by then (60000)
  -p, --protocol NAME    auto, or a protocol's name (auto: by prog's greeting)
      --no-replay        never replay to the TLS server what the client said before TLS
      --no-advertise     do not add STARTTLS to the server's capabilities
the plaintext server:
      --connect H:P      reached at host H and port P, [IPv6]:P or unix:/path, in place of prog
inside TLS:
      --respawn          run prog again; TLS ends here, SSL_* tell prog of it
      --implicit         TLS from the first byte (ports 465, 993, 995): prog runs inside TLS only
      --ucspi-tls        prog asks for TLS itself: SSLCTLFD, SSLREADFD, SSLWRITEFD in its environment
      --backend-tls MODE implicit, starttls, opportunistic (plaintext if not offered) or none (implicit)
      --backend-name N   the name the TLS server must prove (host); several: any of them
      --backend-ca FILE  its trust anchors, in PEM (the system's)
      --backend-pin sha256//BASE64
                         its public key; several: any of them; without --backend-ca no chain is needed
      --backend-cert FILE, --backend-key FILE
                         the certificate to show to it, and its key (TLS 1.3 only)
who the client is:
      --proxy-protocol V v1 or v2: tell the TLS server by a PROXY header, before TLS
      --proxy-inside     send that header inside TLS
      --accept-proxy     the client's first bytes are a PROXY header, from who stands before us
TLS with the client:
  -k 0|1|2               server names: ignore; or the default certificate; named ones only (1)
  -Y, -y                 ask for a client certificate; demand one
  -S, -s                 end with close_notify; without (-S)
  -J, -j                 the client's end without close_notify is an error; is none (-j)
  -K MS                  handshake timeout (30000)
      --tls-min 1.2|1.3  lowest version (1.2)
the rest:
  -Z, -z                 keep the wrapper's variables in prog's environment; remove them (-z)
      --sandbox WORD     without Landlock or seccomp: try goes on, require does not (try)
  -v N                   0 fatal, 1 warnings, 2 one line a session, 3 transcript (1)
      --check            no session: say whether the configuration would serve, a line for each part
      --help, --version

environment:
  KEYFILE, CERTFILE      the server's key and certificate chain, or several of both
  KEYFILE:name, CERTFILE:name
                         those of a server name; its first label may be *
  CADIR, CAFILE          who may vouch for a client: files named by hash; one file
  TLS_UID, TLS_GID       root only: who reads the network
  SSLCTLFD, SSLREADFD, SSLWRITEFD
                         TLS with the client is left to the UCSPI-TLS server that set them; no key is needed
";
