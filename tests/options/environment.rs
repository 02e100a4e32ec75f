//! Rows about the environment: read, written, and hidden.

use super::{ROW, Row, SERVED};

pub(crate) const ROWS: &[Row] = &[
    Row {
        option: "-Z",
        given: "-Z --respawn",
        shows: "KEYFILE",
        client: SERVED,
        server: "KEYFILE={dir}/key.pem, EHLO a, end / KEYFILE={dir}/key.pem, EHLO b, QUIT",
        end: "0",
        ..ROW
    },
    Row {
        option: "-z",
        given: "-z --respawn",
        shows: "KEYFILE CERTFILE",
        client: SERVED,
        server: "no KEYFILE, no CERTFILE, EHLO a, end / no KEYFILE, no CERTFILE, EHLO b, QUIT",
        end: "0",
        ..ROW
    },
    Row {
        option: "KEYFILE, CERTFILE",
        given: "KEYFILE={dir}/key.pem CERTFILE={dir}/cert.pem --respawn",
        client: SERVED,
        server: "EHLO a, end / EHLO b, QUIT",
        end: "0",
        ..ROW
    },
    Row {
        option: "KEYFILE:name, CERTFILE:name",
        given: "KEYFILE:elsewhere.example={other}/key.pem CERTFILE:elsewhere.example={other}/cert.pem \
                --respawn",
        says: "EHLO a; STARTTLS; <TLS elsewhere>; EHLO b; QUIT",
        client: "220 mx; 250-mx, 250 STARTTLS; 220 2.0.0 Ready to start TLS; \
                 TLSv1.3 with elsewhere.example; 250 mx; 221 bye; close_notify",
        server: "EHLO a, end / EHLO b, QUIT",
        end: "0",
        ..ROW
    },
    Row {
        option: "CAFILE",
        given: "CAFILE={dir}/ca.pem -y --respawn",
        says: "EHLO a; STARTTLS; <TLS certificate>; EHLO b; QUIT",
        client: SERVED,
        server: "EHLO a, end / EHLO b, QUIT",
        end: "0",
        ..ROW
    },
    Row {
        option: "CADIR",
        given: "CAFILE={dir}/none CADIR={dir}/hashed -y --respawn",
        says: "EHLO a; STARTTLS; <TLS certificate>; EHLO b; QUIT",
        client: SERVED,
        server: "EHLO a, end / EHLO b, QUIT",
        end: "0",
        ..ROW
    },
    Row {
        option: "SSL_CERT_FILE, SSL_CERT_DIR",
        given: "SSL_CERT_FILE={dir}/ca.pem SSL_CERT_DIR=/nonexistent localhost {backend}",
        client: SERVED,
        server: "EHLO a, end / TLSv1.3, EHLO b, QUIT",
        end: "0",
        ..ROW
    },
    Row {
        option: "SSL_CERT_DIR",
        given: "SSL_CERT_FILE=/nonexistent SSL_CERT_DIR={dir}/hashed localhost {backend}",
        client: SERVED,
        server: "EHLO a, end / TLSv1.3, EHLO b, QUIT",
        end: "0",
        ..ROW
    },
    Row {
        option: "TLS_UID, TLS_GID",
        given: "TLS_UID=4711 TLS_GID=4712 --respawn",
        client: SERVED,
        server: "read by TLS_UID=4711 TLS_GID=4712, EHLO a, end / read by TLS_UID=4711 TLS_GID=4712, EHLO b, QUIT",
        end: "0",
        ..ROW
    },
    Row {
        option: "PROTO, ${PROTO}REMOTEIP, ${PROTO}REMOTEPORT, ${PROTO}LOCALIP, ${PROTO}LOCALPORT",
        given: "PROTO=X XREMOTEIP=192.0.2.1 XREMOTEPORT=4711 XLOCALIP=192.0.2.2 XLOCALPORT=25 \
                --proxy-protocol v1 --backend-tls none localhost {backend}",
        client: SERVED,
        server: "EHLO a, end / PROXY 192.0.2.1:4711 192.0.2.2:25, EHLO b, QUIT",
        end: "0",
        ..ROW
    },
    Row {
        option: "SSLCTLFD, SSLREADFD, SSLWRITEFD, UCSPITLS",
        given: "UCSPITLS=1 --ucspi-tls -- {wrapper} --respawn",
        shows: "SSLCTLFD SSLREADFD SSLWRITEFD UCSPITLS",
        client: SERVED,
        server: "no SSLCTLFD, no SSLREADFD, no SSLWRITEFD, no UCSPITLS, EHLO a, end / \
                 no SSLCTLFD, no SSLREADFD, no SSLWRITEFD, no UCSPITLS, EHLO b, QUIT",
        end: "0",
        ..ROW
    },
    Row {
        option: "SSL_PROTOCOL, SSL_CIPHER, SSL_TLS_SNI_SERVERNAME, SSL_CLIENT_VERIFY, SSL_VERSION_INTERFACE",
        given: "--implicit",
        says: "<TLS>; EHLO b; QUIT",
        shows: "SSL_PROTOCOL SSL_CIPHER SSL_TLS_SNI_SERVERNAME SSL_CLIENT_VERIFY SSL_VERSION_INTERFACE",
        client: "TLSv1.3; 220 mx; 250 mx; 221 bye; close_notify",
        server: concat!(
            "SSL_PROTOCOL=TLSv1.3, SSL_CIPHER=TLS_AES_256_GCM_SHA384, SSL_TLS_SNI_SERVERNAME=localhost, ",
            "SSL_CLIENT_VERIFY=NONE, SSL_VERSION_INTERFACE=starttls-wrapper/",
            env!("CARGO_PKG_VERSION"),
            ", EHLO b, QUIT"
        ),
        end: "0",
        ..ROW
    },
    Row {
        option: "SSL_PEER_CERT_HASH, SSL_PEER_CERT_SUBJECT, SSL_CLIENT_S_DN, SSL_CLIENT_I_DN",
        given: "CAFILE={dir}/ca.pem --implicit -y",
        says: "<TLS certificate>; EHLO b; QUIT",
        shows: "SSL_PEER_CERT_HASH SSL_PEER_CERT_SUBJECT SSL_CLIENT_S_DN SSL_CLIENT_I_DN",
        client: "TLSv1.3; 220 mx; 250 mx; 221 bye; close_notify",
        server: "SSL_PEER_CERT_HASH=SHA256:{64 digits}, SSL_PEER_CERT_SUBJECT=CN=rcgen self signed cert, \
                 SSL_CLIENT_S_DN=CN=rcgen self signed cert, SSL_CLIENT_I_DN=CN=an authority, EHLO b, QUIT",
        end: "0",
        ..ROW
    },
];
