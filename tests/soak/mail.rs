//! Mails that are known by their size, and what a mail is known by.

/// A mail of so many bytes: lines, some of which begin with a dot, and one that asks for TLS now and then.
pub(crate) fn mail(size: usize) -> Vec<u8> {
    let mut mail = Vec::with_capacity(size);
    let mut number: usize = size;
    while mail.len() < size {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let line = match number >> 60 {
            0 => ".a dot",
            1 => "STARTTLS",
            2 => "..",
            _ => "and so on, and so forth, from one line to the next, until there is enough of it",
        };
        mail.extend_from_slice(line.as_bytes());
        mail.extend_from_slice(b"\r\n");
    }
    mail.truncate(size.saturating_sub(2));
    mail.extend_from_slice(b"\r\n");
    mail
}

/// FNV-1a, 64 bits: what differs is found, by accident at least.
pub(crate) fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

/// As it stands between its command and the line with a dot (RFC 5321 section 4.5.2, RFC 1939 section 3).
pub(crate) fn stuffed(mail: &[u8]) -> Vec<u8> {
    let lines = mail.split_inclusive(|byte| *byte == b'\n');
    lines.flat_map(|line| [if line.starts_with(b".") { b"." } else { &b""[..] }, line].concat()).collect()
}
