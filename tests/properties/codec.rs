//! The laws of what is read from bytes that an attacker may have written: lines, the window's packets, what may be
//! signed, PROXY headers. tests/properties.rs and the fuzz targets check them.

use starttls_protocols::dialogue::MAX_BYTES;
use starttls_protocols::line::{self, MAX_LINE};
use starttls_protocols::unit::{Unit, UnitBuffer};
use starttls_protocols::{Offer, PROTOCOLS, Policy, Snooper};
use starttls_wrapper::proxy;
use starttls_wrapper::tls::may_be_signed;
use starttls_wrapper::window::{Ask, Chain, Peer, join, parts};

/// Lines are the same however their bytes are cut.
pub(crate) fn check_lines(data: &[u8]) {
    let Some((cut, data)) = data.split_first() else { return };
    let mut found = Vec::new();
    let mut waiting = UnitBuffer::default();
    let mut rest = data;
    while !rest.is_empty() {
        let room = line::unit(waiting.bytes(), MAX_LINE).room().min(usize::from(*cut) + 1).min(rest.len());
        assert!(room > 0, "there is room once the lines are taken");
        let (piece, left) = rest.split_at(room);
        waiting.push(piece);
        rest = left;
        loop {
            match line::unit(waiting.bytes(), MAX_LINE) {
                Unit::Whole(length) => found.extend(waiting.take(length)),
                Unit::Partial(_) => break,
                Unit::TooLong | Unit::Tls => {
                    assert_eq!(waiting.bytes().len(), MAX_LINE);
                    found.extend(waiting.into_rest());
                    assert!(data.starts_with(&found));
                    return;
                }
            }
            assert!(found.ends_with(b"\n"));
        }
    }
    found.extend(waiting.into_rest());
    assert_eq!(found, data);
}

/// The units of every protocol, of both sides, are the same however their bytes are cut; and of one that counts its
/// bytes, no byte behind a unit is asked for.
pub(crate) fn check_units(data: &[u8]) {
    for protocol in PROTOCOLS {
        let snooper = (protocol.snooper)(Policy::INSIDE);
        for unit in [<dyn Snooper>::client_unit, <dyn Snooper>::server_unit] {
            let unit = |bytes: &[u8]| unit(snooper.as_ref(), bytes);
            let mut rest = data;
            while let Unit::Whole(length) = unit(rest) {
                assert!(length > 0 && length <= MAX_BYTES.max(MAX_LINE));
                for seen in 0..length {
                    let Unit::Partial(room) = unit(&rest[..seen]) else { panic!("{}: cut at {seen}", protocol.name) };
                    assert!(room > 0 && (!protocol.is_client_first() || seen + room <= length), "{}", protocol.name);
                }
                assert_eq!(unit(&rest[..length]), Unit::Whole(length), "{}", protocol.name);
                rest = &rest[length..];
            }
            // What is read of it, whatever it is, is read without a panic.
            let mut snooper = (protocol.snooper)(Policy { offer: Offer::Add, ..Policy::INSIDE });
            snooper.command(rest);
            snooper.reply(rest, &mut Vec::new());
            snooper.unasked(rest, &mut Vec::new());
            snooper.transcript(rest, false);
        }
    }
}

/// What decodes is encoded the same way, and so means one thing.
pub(crate) fn check_window(data: &[u8]) {
    if let Some(ask) = Ask::decode(data) {
        assert_eq!(Ask::decode(&ask.encode()), Some(ask));
    }
    if let Some(chain) = Chain::decode(data) {
        assert_eq!(Chain::decode(&chain.encode()), Some(chain));
    }
    if let Some(parts) = parts(data) {
        assert_eq!(join(parts), data);
    }
    for (peer, role) in [(Peer::Client, &b"server"[..]), (Peer::Backend, b"client")] {
        if may_be_signed(peer, data) {
            let verify = [&[b' '; 64], &b"TLS 1.3, "[..], role, b" CertificateVerify\0"].concat();
            let exchange = peer == Peer::Client && data.get(64) == Some(&3) && data.len() <= 64 + 4 + 97;
            assert!(data.starts_with(&verify) && data.len() <= verify.len() + 48 || exchange);
            assert!(!(peer == Peer::Backend && may_be_signed(Peer::Client, data)), "one leg's is not the other's");
        }
    }
}

/// A header is asked for byte by byte and never past its end; what is read is what would be sent.
pub(crate) fn check_proxy(data: &[u8]) {
    let mut seen = 0;
    loop {
        let Some(bytes) = data.get(..seen) else { return };
        match proxy::missing(bytes) {
            Ok(0) => break,
            Ok(more) => seen += more,
            Err(_) => return,
        }
        assert!(seen <= proxy::MAX_HEADER);
    }
    let Some(bytes) = data.get(..seen) else { return };
    let Ok(header) = proxy::parse(bytes) else { return };
    if let Some(ends) = header.ends {
        for version in [proxy::Version::V1, proxy::Version::V2] {
            let sent = proxy::header(version, ends, header.tls.as_ref());
            assert_eq!(proxy::missing(&sent), Ok(0));
            // The server's address is lost where a header of one family has no room for it; the client's never.
            let read = proxy::parse(&sent).expect("what is sent can be read").ends.expect("it tells of both ends");
            assert_eq!(read.client.ip().to_canonical(), ends.client.ip().to_canonical());
            assert_eq!(read.client.port(), ends.client.port());
        }
    }
}
