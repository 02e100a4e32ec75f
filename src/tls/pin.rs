//! Pins as curl writes them: `sha256//BASE64`. The only door to base64ct.

use base64ct::{Base64, Encoding};

/// The SHA-256 of a SubjectPublicKeyInfo (RFC 7469 section 2.4).
pub type Pin = [u8; 32];

/// Reads what `curl --pinnedpubkey` takes: one pin, or several with `;` between.
pub fn read(list: &str) -> Option<Vec<Pin>> {
    let pin = |text: &str| {
        let mut pin = Pin::default();
        let decoded = Base64::decode(text.strip_prefix(PREFIX)?, &mut pin).ok()?;
        (decoded.len() == pin.len()).then_some(pin)
    };
    list.split(';').map(pin).collect()
}

/// The opposite, of one.
pub(super) fn write(pin: &Pin) -> String {
    let mut text = [0; TEXT];
    format!("{PREFIX}{}", Base64::encode(pin, &mut text).unwrap_or_default())
}

const PREFIX: &str = "sha256//";

/// Four letters for every three bytes that are begun.
const TEXT: usize = size_of::<Pin>().div_ceil(3) * 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_written_as_curl_takes_it() {
        let pin = "sha256//AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        let bytes: Pin = std::array::from_fn(|place| place as u8);
        assert_eq!(read(pin).unwrap(), [bytes]);
        assert_eq!(write(&bytes), pin);
        assert_eq!(read(&format!("{pin};{pin}")).unwrap(), [bytes, bytes]);
        for wrong in
            ["", "sha256//", "sha256//AAEC", "sha1//AAEC", &pin[..pin.len() - 1], &format!("{pin};"), &pin[8..]]
        {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
