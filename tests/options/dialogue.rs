//! Rows about the dialogue, the plaintext server, and the program itself.

use super::{ROW, Row, SERVED};

pub(crate) const ROWS: &[Row] = &[
    Row {
        option: "-r",
        given: "--respawn -r",
        says: "EHLO a; MAIL FROM:<a@b>; QUIT",
        client: "220 mx; 250-mx, 250 STARTTLS; 530 5.7.0 Must issue a STARTTLS command first; 221 bye; end",
        server: "EHLO a, QUIT",
        end: "0",
        ..ROW
    },
    Row {
        option: "--require-tls",
        given: "--respawn --require-tls",
        client: "220 mx; 250-mx, 250 STARTTLS; 220 2.0.0 Ready to start TLS; TLSv1.3; 250-mx, 250 AUTH PLAIN; 221 bye; close_notify",
        server: "EHLO a, end / EHLO b, QUIT",
        end: "0",
        ..ROW
    },
    Row {
        option: "--tls-deadline",
        given: "--respawn -r --tls-deadline 4000",
        says: "EHLO a",
        client: "220 mx; 250-mx, 250 STARTTLS; 421 4.7.0 STARTTLS required, closing transmission channel; end",
        server: "EHLO a, end",
        end: "99",
        ..ROW
    },
    Row {
        option: "-p",
        given: "--respawn -p smtp",
        greeting: "200 mx",
        client: "200 mx; 250-mx, 250 STARTTLS; 220 2.0.0 Ready to start TLS; TLSv1.3; 250 mx; 221 bye; close_notify",
        server: "EHLO a, end / EHLO b, QUIT",
        end: "0",
        ..ROW
    },
    Row {
        option: "--protocol",
        given: "--respawn --protocol auto",
        greeting: "200 mx",
        says: "EHLO a; QUIT",
        client: "200 mx; 250 mx; 221 bye; end",
        server: "EHLO a, QUIT",
        end: "0",
        ..ROW
    },
    Row {
        option: "--respawn",
        given: "--respawn",
        client: SERVED,
        server: "EHLO a, end / EHLO b, QUIT",
        end: "0",
        ..ROW
    },
    Row {
        option: "--implicit",
        given: "--implicit",
        says: "<TLS>; EHLO b; QUIT",
        client: "TLSv1.3; 220 mx; 250 mx; 221 bye; close_notify",
        server: "EHLO b, QUIT",
        end: "0",
        ..ROW
    },
    Row {
        option: "--ucspi-tls",
        given: "UCSPITLS=1 --ucspi-tls -- {wrapper} --respawn",
        shows: "SSL_PROTOCOL",
        client: SERVED,
        server: "no SSL_PROTOCOL, EHLO a, end / SSL_PROTOCOL=TLSv1.3, EHLO b, QUIT",
        end: "0",
        ..ROW
    },
    Row {
        option: "--connect",
        given: "--respawn --connect localhost:{plain}",
        client: SERVED,
        server: "EHLO a, end / EHLO b, QUIT",
        end: "0",
        ..ROW
    },
    Row {
        option: "--no-replay",
        given: "--respawn --no-replay",
        says: "EHLO a; STARTTLS; <TLS>; NOOP; QUIT",
        client: "220 mx; 250-mx, 250 STARTTLS; 220 2.0.0 Ready to start TLS; TLSv1.3; 250 ok; 221 bye; close_notify",
        server: "EHLO a, end / NOOP, QUIT",
        end: "0",
        ..ROW
    },
    Row {
        option: "--respawn",
        given: "--respawn",
        says: "EHLO a; STARTTLS; <TLS>; NOOP; QUIT",
        client: "220 mx; 250-mx, 250 STARTTLS; 220 2.0.0 Ready to start TLS; TLSv1.3; 250 ok; 221 bye; close_notify",
        server: "EHLO a, end / EHLO a, NOOP, QUIT",
        end: "0",
        ..ROW
    },
    Row {
        option: "--no-advertise",
        given: "--respawn --no-advertise",
        client: "220 mx; 250 mx; 220 2.0.0 Ready to start TLS; TLSv1.3; 250 mx; 221 bye; close_notify",
        server: "EHLO a, end / EHLO b, QUIT",
        end: "0",
        ..ROW
    },
    Row {
        option: "-v",
        given: "KEYFILE={dir}/none -v 0 --respawn",
        says: "EHLO a; QUIT",
        client: "220 mx; 250 mx; 221 bye; end",
        server: "EHLO a, QUIT",
        end: "0",
        ..ROW
    },
    Row {
        option: "-v",
        given: "KEYFILE={dir}/none -v 1 --respawn",
        says: "EHLO a; QUIT",
        client: "220 mx; 250 mx; 221 bye; end",
        server: "EHLO a, QUIT",
        end: "0; warning: unable to open key {dir}/none: no such file or directory",
        ..ROW
    },
    Row {
        option: "-v",
        given: "KEYFILE={dir}/none -v 2 --respawn",
        says: "EHLO a; QUIT",
        client: "220 mx; 250 mx; 221 bye; end",
        server: "EHLO a, QUIT",
        end: "0; warning: unable to open key {dir}/none: no such file or directory; info: session",
        ..ROW
    },
    Row {
        option: "-v",
        given: "KEYFILE={dir}/none -v 3 --respawn",
        says: "EHLO a; QUIT",
        client: "220 mx; 250 mx; 221 bye; end",
        server: "EHLO a, QUIT",
        end: "0; warning: unable to open key {dir}/none: no such file or directory; info: S: 220 mx; \
              info: C: EHLO a; info: S: 250 mx; info: C: QUIT; info: S: 221 bye; info: session",
        ..ROW
    },
    Row {
        option: "--sandbox",
        given: "--sandbox try --respawn",
        client: SERVED,
        server: "EHLO a, end / EHLO b, QUIT",
        end: "0",
        ..ROW
    },
    Row {
        option: "--sandbox",
        given: "--sandbox require --respawn",
        client: SERVED,
        server: "EHLO a, end / EHLO b, QUIT",
        end: "0",
        ..ROW
    },
    Row {
        option: "--check",
        given: "--check --respawn",
        says: "",
        client: "ok: options and environment; ok: key and certificate; \
                 ok: key {dir}/key.pem and certificate {dir}/cert.pem for any other name: until 4096-01-01T00:00:00Z; \
                 ok: a session that asks for TLS: granted, smtp, and served inside TLS; ok: sandbox; end",
        server: "EHLO localhost, end / EHLO localhost, QUIT",
        end: "0",
        ..ROW
    },
    Row {
        option: "--help",
        given: "--help",
        says: "<hear one line>",
        client: "usage: starttls-wrapper [options] [--] host port prog...",
        server: "",
        end: "0",
        ..ROW
    },
    Row {
        option: "--version",
        given: "--version",
        says: "",
        client: concat!(
            "starttls-wrapper ",
            env!("CARGO_PKG_VERSION"),
            "; TLS: {library}; X25519MLKEM768 X25519 secp256r1 secp384r1",
            "; protocols: smtp lmtp pop3 imap nntp sieve ldap postgres; end"
        ),
        server: "",
        end: "0",
        ..ROW
    },
];
