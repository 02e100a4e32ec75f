//! Rows about the TLS server at host and port, and about who tells whom who the client is.

use super::play::Backing;
use super::{ROW, Row, SERVED};

pub(crate) const ROWS: &[Row] = &[
    Row {
        option: "--backend-tls implicit",
        given: "--backend-tls implicit --backend-ca {dir}/ca.pem localhost {backend}",
        client: SERVED,
        server: "EHLO a, end / TLSv1.3, EHLO b, QUIT",
        end: "0",
        ..ROW
    },
    Row {
        option: "--backend-tls starttls",
        given: "--backend-tls starttls --backend-ca {dir}/ca.pem localhost {backend}",
        backend: Backing::Offers,
        client: SERVED,
        server: "EHLO a, end / EHLO localhost, STARTTLS, TLSv1.3, EHLO b, QUIT",
        end: "0",
        ..ROW
    },
    Row {
        option: "--backend-tls opportunistic",
        given: "--backend-tls opportunistic --backend-ca {dir}/ca.pem localhost {backend}",
        backend: Backing::Offers,
        client: SERVED,
        server: "EHLO a, end / EHLO localhost, STARTTLS, TLSv1.3, EHLO b, QUIT",
        end: "0",
        ..ROW
    },
    Row {
        option: "--backend-tls opportunistic",
        given: "--backend-tls opportunistic localhost {backend}",
        client: SERVED,
        server: "EHLO a, end / EHLO localhost, STARTTLS, end / EHLO b, QUIT",
        end: "0; warning: going on in plaintext with localhost port {backend}: it offers no TLS: 502 no",
        ..ROW
    },
    Row {
        option: "--backend-tls none",
        given: "--backend-tls none localhost {backend}",
        client: SERVED,
        server: "EHLO a, end / EHLO b, QUIT",
        end: "0",
        ..ROW
    },
    Row {
        option: "--backend-name",
        given: "--backend-name elsewhere.example --backend-ca {dir}/ca.pem localhost {backend}",
        backend: Backing::Elsewhere,
        client: SERVED,
        server: "EHLO a, end / TLSv1.3, EHLO b, QUIT",
        end: "0",
        ..ROW
    },
    Row {
        option: "--backend-ca",
        given: "--backend-ca {dir}/ca.pem localhost {backend}",
        client: SERVED,
        server: "EHLO a, end / TLSv1.3, EHLO b, QUIT",
        end: "0",
        ..ROW
    },
    Row {
        option: "--backend-pin",
        given: "--backend-pin {pin} localhost {backend}",
        backend: Backing::Unknown,
        client: SERVED,
        server: "EHLO a, end / TLSv1.3, EHLO b, QUIT",
        end: "0",
        ..ROW
    },
    Row {
        option: "--backend-cert, --backend-key",
        given: "--backend-cert {dir}/cert.pem --backend-key {dir}/key.pem --backend-ca {dir}/ca.pem localhost {backend}",
        client: SERVED,
        server: "EHLO a, end / TLSv1.3 with a certificate, EHLO b, QUIT",
        end: "0",
        ..ROW
    },
    Row {
        option: "--proxy-protocol v1",
        given: "--proxy-protocol v1 --backend-ca {dir}/ca.pem localhost {backend}",
        client: SERVED,
        server: "EHLO a, end / PROXY {client}, TLSv1.3, EHLO b, QUIT",
        end: "0",
        ..ROW
    },
    Row {
        option: "--proxy-protocol v2",
        given: "--proxy-protocol v2 --backend-ca {dir}/ca.pem localhost {backend}",
        client: SERVED,
        server: "EHLO a, end / PROXY LOCAL, TLSv1.3, end / PROXY {client} TLSv1.3, TLSv1.3, EHLO b, QUIT",
        end: "0",
        ..ROW
    },
    Row {
        option: "--proxy-inside",
        given: "--proxy-protocol v2 --proxy-inside --backend-ca {dir}/ca.pem localhost {backend}",
        client: SERVED,
        server: "EHLO a, end / TLSv1.3, PROXY LOCAL, end / TLSv1.3, PROXY {client} TLSv1.3, EHLO b, QUIT",
        end: "0",
        ..ROW
    },
    Row {
        option: "--accept-proxy",
        given: "--accept-proxy --respawn",
        says: "<PROXY TCP4 192.0.2.1 192.0.2.2 4711 25>; EHLO a; QUIT",
        shows: "TCPREMOTEIP",
        client: "220 mx; 250-mx, 250 STARTTLS; 221 bye; end",
        server: "TCPREMOTEIP=192.0.2.1, EHLO a, QUIT",
        end: "0",
        ..ROW
    },
];
