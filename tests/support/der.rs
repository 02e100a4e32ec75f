//! Certificates taken apart and put together otherwise. What comes out is signed by nobody.

/// This certificate as one of X.509 version 1: without a version, and without extensions (RFC 5280 section 4.1).
pub(crate) fn version_1(certificate: &[u8]) -> Vec<u8> {
    let [to_be_signed, algorithm, signature] = elements(contents(certificate)).try_into().unwrap();
    let kept = elements(contents(to_be_signed)).into_iter().filter(|field| ![VERSION, EXTENSIONS].contains(&field[0]));
    sequence(&[&sequence(&kept.collect::<Vec<_>>()), algorithm, signature])
}

fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    let contents = parts.concat();
    let length = u16::try_from(contents.len()).unwrap().to_be_bytes();
    let head = match length {
        [0, short @ ..0x80] => vec![SEQUENCE, short],
        [0, byte] => vec![SEQUENCE, 0x81, byte],
        [high, low] => vec![SEQUENCE, 0x82, high, low],
    };
    [head, contents].concat()
}

fn contents(element: &[u8]) -> &[u8] {
    split(element).1
}

fn elements(mut contents: &[u8]) -> Vec<&[u8]> {
    let mut elements = Vec::new();
    while !contents.is_empty() {
        let (head, inside, _) = split(contents);
        let (element, rest) = contents.split_at(head + inside.len());
        elements.push(element);
        contents = rest;
    }
    elements
}

/// How long an element's head is, what is inside, and what follows.
fn split(bytes: &[u8]) -> (usize, &[u8], &[u8]) {
    let (head, length) = match bytes[1] {
        short @ ..0x80 => (2, short.into()),
        long => {
            let bytes = &bytes[2..2 + usize::from(long & 0x7f)];
            (2 + bytes.len(), bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)))
        }
    };
    let (inside, rest) = bytes[head..].split_at(length);
    (head, inside, rest)
}

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
