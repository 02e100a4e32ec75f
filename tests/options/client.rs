//! Rows about TLS with the client.

use super::{ROW, Row, SERVED};

pub(crate) const ROWS: &[Row] = &[
    Row {
        option: "-Y",
        given: "CAFILE={dir}/ca.pem --respawn -Y",
        says: "EHLO a; STARTTLS; <TLS certificate>; EHLO b; QUIT",
        shows: "SSL_CLIENT_VERIFY",
        client: SERVED,
        server: "no SSL_CLIENT_VERIFY, EHLO a, end / SSL_CLIENT_VERIFY=SUCCESS, EHLO b, QUIT",
        end: "0",
        ..ROW
    },
    Row {
        option: "-Y",
        given: "CAFILE={dir}/ca.pem --respawn -Y",
        shows: "SSL_CLIENT_VERIFY",
        client: SERVED,
        server: "no SSL_CLIENT_VERIFY, EHLO a, end / SSL_CLIENT_VERIFY=NONE, EHLO b, QUIT",
        end: "0",
        ..ROW
    },
    Row {
        option: "-y",
        given: "CAFILE={dir}/ca.pem --respawn -y",
        says: "EHLO a; STARTTLS; <TLS certificate>; EHLO b; QUIT",
        shows: "SSL_CLIENT_VERIFY",
        client: SERVED,
        server: "no SSL_CLIENT_VERIFY, EHLO a, end / SSL_CLIENT_VERIFY=SUCCESS, EHLO b, QUIT",
        end: "0",
        ..ROW
    },
    Row {
        option: "-y",
        given: "CAFILE={dir}/ca.pem --respawn -y",
        says: "EHLO a; STARTTLS; <TLS>",
        client: "220 mx; 250-mx, 250 STARTTLS; 220 2.0.0 Ready to start TLS; TLSv1.3; alert CertificateRequired",
        server: "EHLO a, end",
        end: "98; warning: TLS handshake with the client failed: ...",
        ..ROW
    },
    Row { option: "-S", given: "-S --respawn", client: SERVED, server: "EHLO a, end / EHLO b, QUIT", end: "0", ..ROW },
    Row {
        option: "-s",
        given: "-s --respawn",
        client: "220 mx; 250-mx, 250 STARTTLS; 220 2.0.0 Ready to start TLS; TLSv1.3; 250 mx; 221 bye; cut",
        server: "EHLO a, end / EHLO b, QUIT",
        end: "0",
        ..ROW
    },
    Row {
        option: "-J",
        given: "-J --respawn",
        says: "EHLO a; STARTTLS; <TLS>; EHLO b; <cut>",
        client: "220 mx; 250-mx, 250 STARTTLS; 220 2.0.0 Ready to start TLS; TLSv1.3; 250 mx; close_notify",
        server: "EHLO a, end / EHLO b, end",
        end: "98; warning: the client closed the connection without close_notify",
        ..ROW
    },
    Row {
        option: "-j",
        given: "-j --respawn",
        says: "EHLO a; STARTTLS; <TLS>; EHLO b; <cut>",
        client: "220 mx; 250-mx, 250 STARTTLS; 220 2.0.0 Ready to start TLS; TLSv1.3; 250 mx; close_notify",
        server: "EHLO a, end / EHLO b, end",
        end: "0",
        ..ROW
    },
    Row {
        option: "-K",
        given: "-K 100 --respawn",
        says: "EHLO a; STARTTLS",
        client: "220 mx; 250-mx, 250 STARTTLS; 220 2.0.0 Ready to start TLS; end",
        server: "EHLO a, end",
        end: "99; warning: TLS handshake with the client failed: it took too long",
        ..ROW
    },
    Row {
        option: "-k 0",
        given: "KEYFILE:elsewhere.example={other}/key.pem CERTFILE:elsewhere.example={other}/cert.pem \
                -k 0 --respawn",
        says: "EHLO a; STARTTLS; <TLS elsewhere>",
        client: "220 mx; 250-mx, 250 STARTTLS; 220 2.0.0 Ready to start TLS; refuses the certificate",
        server: "EHLO a, end",
        end: "98; warning: TLS handshake with the client failed: ...",
        ..ROW
    },
    Row {
        option: "-k 1",
        given: "KEYFILE:elsewhere.example={other}/key.pem CERTFILE:elsewhere.example={other}/cert.pem \
                -k 1 --respawn",
        says: "EHLO a; STARTTLS; <TLS elsewhere>; EHLO b; QUIT",
        client: "220 mx; 250-mx, 250 STARTTLS; 220 2.0.0 Ready to start TLS; \
                 TLSv1.3 with elsewhere.example; 250 mx; 221 bye; close_notify",
        server: "EHLO a, end / EHLO b, QUIT",
        end: "0",
        ..ROW
    },
    Row {
        option: "-k 1",
        given: "KEYFILE:elsewhere.example={other}/key.pem CERTFILE:elsewhere.example={other}/cert.pem \
                -k 1 --respawn",
        client: SERVED,
        server: "EHLO a, end / EHLO b, QUIT",
        end: "0",
        ..ROW
    },
    Row {
        option: "-k 2",
        given: "KEYFILE:elsewhere.example={other}/key.pem CERTFILE:elsewhere.example={other}/cert.pem \
                -k 2 --respawn",
        says: "EHLO a; STARTTLS; <TLS>",
        client: "220 mx; 250-mx, 250 STARTTLS; 220 2.0.0 Ready to start TLS; alert UnrecognisedName",
        server: "EHLO a, end",
        end: "98; warning: TLS handshake with the client failed: \
              there is no certificate for the server name that it asks for",
        ..ROW
    },
    Row {
        option: "--tls-min 1.2",
        given: "--tls-min 1.2 --respawn",
        says: "EHLO a; STARTTLS; <TLS 1.2>; EHLO b; QUIT",
        client: "220 mx; 250-mx, 250 STARTTLS; 220 2.0.0 Ready to start TLS; TLSv1.2; 250 mx; 221 bye; close_notify",
        server: "EHLO a, end / EHLO b, QUIT",
        end: "0",
        ..ROW
    },
    Row {
        option: "--tls-min 1.3",
        given: "--tls-min 1.3 --respawn",
        says: "EHLO a; STARTTLS; <TLS 1.2>",
        client: "220 mx; 250-mx, 250 STARTTLS; 220 2.0.0 Ready to start TLS; alert ProtocolVersion",
        server: "EHLO a, end",
        end: "98; warning: TLS handshake with the client failed: ...",
        ..ROW
    },
];
