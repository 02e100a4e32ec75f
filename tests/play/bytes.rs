//! How a dialogue writes what is said: a line, bytes with escapes, or bytes with their lengths left to be counted.

/// What follows the letter: `: a line`, `> bytes with escapes`, `= bytes with lengths`, or `-` for nothing.
pub(super) fn bytes(rest: &str) -> Option<Option<Vec<u8>>> {
    if rest == "-" {
        return Some(None);
    }
    if let Some(counted) = rest.strip_prefix("= ") {
        let mut rest = counted;
        let bytes = items(&mut rest)?;
        return rest.is_empty().then_some(Some(bytes));
    }
    match (rest.strip_prefix(':'), rest.strip_prefix("> ")) {
        (Some(""), _) => Some(Some(b"\r\n".to_vec())),
        (Some(line), _) => Some(Some(format!("{}\r\n", line.strip_prefix(' ')?).into_bytes())),
        (_, Some(escaped)) => Some(Some(unescaped(escaped)?)),
        _ => None,
    }
}

/// Understands `\r`, `\n`, `\t`, `\0`, `\\` and `\xNN`.
pub(super) fn unescaped(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'\\' => match rest.next()? {
                b'r' => b'\r',
                b'n' => b'\n',
                b't' => b'\t',
                b'0' => 0,
                b'\\' => b'\\',
                b'x' => {
                    let digits = [rest.next()?, rest.next()?];
                    u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
                }
                _ => return None,
            },
            byte => byte,
        });
    }
    Some(bytes)
}

/// Two hexadecimal digits are a byte, `"text"` is what it is, and before what stands in brackets comes its length:
/// `{}` as BER writes it, `[]` in four bytes that count themselves, as PostgreSQL does. Ends at a closing bracket.
fn items(rest: &mut &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        *rest = rest.trim_start();
        if rest.is_empty() || rest.starts_with(['}', ']']) {
            return Some(bytes);
        }
        if let Some(text) = rest.strip_prefix('"') {
            let (text, behind) = text.split_once('"')?;
            bytes.extend_from_slice(text.as_bytes());
            *rest = behind;
        } else if let Some(inner) = rest.strip_prefix('{') {
            let contents = enclosed(rest, inner, '}')?;
            bytes.extend(ber_length(contents.len()));
            bytes.extend(contents);
        } else if let Some(inner) = rest.strip_prefix('[') {
            let contents = enclosed(rest, inner, ']')?;
            bytes.extend(u32::try_from(contents.len() + 4).ok()?.to_be_bytes());
            bytes.extend(contents);
        } else {
            let (digits, behind) = rest.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            *rest = behind;
        }
    }
}

fn enclosed<'a>(rest: &mut &'a str, inner: &'a str, end: char) -> Option<Vec<u8>> {
    *rest = inner;
    let contents = items(rest)?;
    *rest = rest.strip_prefix(end)?;
    Some(contents)
}

fn ber_length(length: usize) -> Vec<u8> {
    match u16::try_from(length).map(u16::to_be_bytes) {
        Ok([0, short @ 0..0x80]) => vec![short],
        Ok([0, long]) => vec![0x81, long],
        Ok([high, low]) => vec![0x82, high, low],
        Err(_) => panic!("{length} bytes are more than a dialogue has"),
    }
}
