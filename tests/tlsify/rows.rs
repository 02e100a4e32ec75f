//! The table.

use super::{Row, Serves};

/// A plaintext side that asks once, for a row to differ from.
const ROW: Row = Row {
    option: "",
    given: "",
    serves: Serves::Tls,
    says: "ask",
    heard: "answer",
    server: "TLSv1.3, sni localhost, ask, end",
    told: "clean",
    end: "0",
};

/// The same in SMTP.
const SMTP: Row = Row {
    serves: Serves::Smtp,
    says: "EHLO a; QUIT",
    heard: "220 localhost ESMTP; 250-inside; 250 SIZE; 221 bye",
    server: "EHLO localhost, STARTTLS, TLSv1.3, sni localhost, alpn smtp, EHLO a, QUIT, end",
    ..ROW
};

/// A call that comes to nothing.
const NOTHING: Row = Row { heard: "", server: "", ..ROW };

pub(crate) const ROWS: &[Row] = &[
    Row { option: "--tls implicit", given: "--tls implicit --ca {dir}/ca.pem localhost {port}", ..ROW },
    Row { option: "--tls starttls, -p", given: "--tls starttls -p smtp --ca {dir}/ca.pem localhost {port}", ..SMTP },
    Row {
        option: "--tls starttls",
        given: "--tls starttls -p smtp --ca {dir}/ca.pem localhost {port}",
        serves: Serves::Plain,
        server: "EHLO localhost, STARTTLS, end",
        told: "unable to use the TLS server localhost port {port}: it offers no TLS: 502 no",
        end: "98; fatal: unable to use the TLS server localhost port {port}: it offers no TLS: 502 no",
        ..NOTHING
    },
    Row {
        option: "--tls either, --implicit-port",
        given: "--tls either -p smtp --implicit-port {other} --ca {dir}/ca.pem localhost {port}",
        ..SMTP
    },
    Row {
        option: "--tls either, --implicit-port",
        given: "--tls either -p smtp --implicit-port {other} --ca {dir}/ca.pem localhost {port}",
        serves: Serves::Both,
        server: "EHLO localhost, STARTTLS, end / TLSv1.3, sni localhost, alpn smtp, ask, end",
        ..ROW
    },
    Row {
        option: "--tls opportunistic",
        given: "--tls opportunistic -p smtp --ca {dir}/ca.pem localhost {port}",
        ..SMTP
    },
    Row {
        option: "--tls opportunistic",
        given: "--tls opportunistic -p smtp localhost {port}",
        serves: Serves::Plain,
        heard: "220 network's.word; 250-network's.word; 250 AUTH EVIL; 221 bye",
        server: "EHLO localhost, STARTTLS, end / EHLO a, QUIT, end",
        told: "plaintext: it offers no TLS: 502 no",
        end: "0; warning: going on in plaintext with localhost port {port}: it offers no TLS: 502 no",
        ..SMTP
    },
    Row {
        option: "--protocol",
        given: "--protocol imap --ca {dir}/ca.pem localhost {port}",
        server: "TLSv1.3, sni localhost, alpn imap, ask, end",
        ..ROW
    },
    Row {
        option: "--name",
        given: "--name elsewhere.example --ca {dir}/ca.pem localhost {port}",
        serves: Serves::Elsewhere,
        server: "TLSv1.3, sni elsewhere.example, ask, end",
        ..ROW
    },
    Row {
        option: "--name",
        given: "--name a.example --name elsewhere.example --ca {dir}/ca.pem localhost {port}",
        serves: Serves::Elsewhere,
        server: "TLSv1.3, sni a.example, ask, end",
        ..ROW
    },
    Row {
        option: "--sni",
        given: "--sni other.example --ca {dir}/ca.pem localhost {port}",
        server: "TLSv1.3, sni other.example, ask, end",
        ..ROW
    },
    Row {
        option: "--no-sni",
        given: "--no-sni --ca {dir}/ca.pem localhost {port}",
        server: "TLSv1.3, no sni, ask, end",
        ..ROW
    },
    Row { option: "--ca", given: "--ca {dir}/ca.pem 127.0.0.1 {port}", server: "TLSv1.3, no sni, ask, end", ..ROW },
    Row { option: "--pin", given: "--pin {pin} localhost {port}", serves: Serves::Unknown, ..ROW },
    Row {
        option: "--cert, --key",
        given: "--cert {dir}/cert.pem --key {dir}/key.pem --ca {dir}/ca.pem localhost {port}",
        serves: Serves::Demanding,
        server: "TLSv1.3, sni localhost, a certificate, ask, end",
        ..ROW
    },
    Row {
        option: "--tls-min 1.2",
        given: "--tls-min 1.2 --ca {dir}/ca.pem localhost {port}",
        serves: Serves::Old,
        server: "TLSv1.2, sni localhost, ask, end",
        ..ROW
    },
    Row {
        option: "--tls-min 1.3",
        given: "--tls-min 1.3 --ca {dir}/ca.pem localhost {port}",
        serves: Serves::Old,
        server: "peer is incompatible: ...",
        told: "unable to use the TLS server localhost port {port}: ...",
        end: "98; fatal: unable to use the TLS server localhost port {port}: ...",
        ..NOTHING
    },
    Row { option: "--pq", given: "--pq --ca {dir}/ca.pem localhost {port}", ..ROW },
    Row {
        option: "--pq",
        given: "--pq --ca {dir}/ca.pem localhost {port}",
        serves: Serves::Classical,
        server: "peer is incompatible: ...",
        told: "unable to use the TLS server localhost port {port}: ...",
        end: "98; fatal: unable to use the TLS server localhost port {port}: ...",
        ..NOTHING
    },
    Row {
        option: "-T",
        given: "-T 200 localhost {port}",
        serves: Serves::Full,
        told: "unable to connect to localhost port {port}: timed out",
        end: "99; fatal: unable to connect to localhost port {port}: timed out",
        ..NOTHING
    },
    Row {
        option: "-K",
        given: "-K 200 localhost {port}",
        serves: Serves::Silent,
        server: "nothing but a ClientHello",
        told: "unable to use the TLS server localhost port {port}: it took too long",
        end: "99; fatal: unable to use the TLS server localhost port {port}: it took too long",
        ..NOTHING
    },
    Row { option: "-S", given: "-S --ca {dir}/ca.pem localhost {port}", ..ROW },
    Row {
        option: "-s",
        given: "-s --ca {dir}/ca.pem localhost {port}",
        server: "TLSv1.3, sni localhost, ask, cut",
        ..ROW
    },
    Row {
        option: "-J",
        given: "-J --ca {dir}/ca.pem localhost {port}",
        serves: Serves::Cutting,
        server: "TLSv1.3, sni localhost, ask",
        told: "cut",
        end: "98; warning: the TLS server closed the connection without close_notify",
        ..ROW
    },
    Row {
        option: "-j",
        given: "-j --ca {dir}/ca.pem localhost {port}",
        serves: Serves::Cutting,
        server: "TLSv1.3, sni localhost, ask",
        told: "cut",
        ..ROW
    },
    Row {
        option: "--proxy-protocol v1",
        given: "TCPREMOTEIP=192.0.2.1 TCPREMOTEPORT=4711 TCPLOCALIP=192.0.2.2 TCPLOCALPORT=25 \
                --proxy-protocol v1 --ca {dir}/ca.pem localhost {port}",
        server: "PROXY 192.0.2.1:4711 192.0.2.2:25, TLSv1.3, sni localhost, ask, end",
        ..ROW
    },
    Row {
        option: "--proxy-inside",
        given: "TCPREMOTEIP=192.0.2.1 TCPREMOTEPORT=4711 TCPLOCALIP=192.0.2.2 TCPLOCALPORT=25 \
                --proxy-protocol v2 --proxy-inside --ca {dir}/ca.pem localhost {port}",
        server: "TLSv1.3, sni localhost, PROXY 192.0.2.1:4711 192.0.2.2:25, ask, end",
        ..ROW
    },
    Row { option: "--control", given: "--control 9 --ca {dir}/ca.pem localhost {port}", ..ROW },
    Row { option: "--sandbox", given: "--sandbox require --ca {dir}/ca.pem localhost {port}", ..ROW },
    Row {
        option: "-Z",
        given: "CAFILE=/x -Z --ca {dir}/ca.pem localhost {port} -- \
                printf 'ask\\r\\n' >&7; exec 7>&-; cat <&6; echo $CAFILE, $SSL_PROTOCOL",
        heard: "answer; /x, TLSv1.3",
        ..ROW
    },
    Row {
        option: "-z",
        given: "CAFILE=/x -z --ca {dir}/ca.pem localhost {port} -- \
                printf 'ask\\r\\n' >&7; exec 7>&-; cat <&6; echo $CAFILE, $PROTO, $TCPREMOTEIP; exit 3",
        heard: "answer; , TCP, 127.0.0.1",
        end: "3",
        ..ROW
    },
    Row { option: "-v 0", given: "-v 0 -j --ca {dir}/ca.pem localhost {port}", ..ROW },
    Row {
        option: "-v 2",
        given: "-v 2 --ca {dir}/ca.pem localhost {port}",
        end: "0; info: session server=localhost port {port} protocol=none outcome=tls version=TLSv1.3 \
              cipher=TLS_AES_256_GCM_SHA384 group=X25519MLKEM768 sni=localhost server-cert=verified",
        ..ROW
    },
    Row {
        option: "--check",
        given: "--check --ca {dir}/ca.pem localhost {port}",
        heard: "ok: options and environment; ok: trust anchors: 1 of them; \
                ok: a TLS session with localhost port {port}; ok: sandbox",
        server: "TLSv1.3, sni localhost, end",
        // Its caller leaves as soon as TLS stands, before the server has ended or after.
        told: "clean or cut",
        ..ROW
    },
    Row { option: "TLS_UID, TLS_GID", given: "TLS_UID=65534 TLS_GID=65534 --ca {dir}/ca.pem localhost {port}", ..ROW },
    Row {
        option: "TLS_UID, TLS_GID",
        given: "TLS_UID=65534 TLS_GID=x localhost {port}",
        serves: Serves::Nothing,
        told: "",
        end: "100; fatal: TLS_GID must be a numeric id, not x",
        ..NOTHING
    },
];
