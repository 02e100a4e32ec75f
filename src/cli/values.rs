//! The values of options.

use std::path::PathBuf;
use std::time::Duration;

use base64ct::{Base64, Encoding};
use starttls_protocols::{PROTOCOLS, Protocol};

use super::{BackendTls, SYNOPSIS};
use crate::message::Error;
use crate::proxy::Version;
use crate::sandbox::Demand;
use crate::tls::{Lowest, Pin};

pub(super) fn text(option: &str, parser: &mut lexopt::Parser) -> Result<String, Error> {
    parser.value().map_err(usage)?.into_string().map_err(|_| Error::Usage(format!("{option} wants UTF-8")))
}

pub(super) fn number<T: std::str::FromStr>(option: &str, parser: &mut lexopt::Parser) -> Result<T, Error> {
    let value = text(option, parser)?;
    value.parse().map_err(|_| Error::Usage(format!("{option} wants a number, not {value}")))
}

pub(super) fn milliseconds(option: &str, parser: &mut lexopt::Parser) -> Result<Duration, Error> {
    let milliseconds: u32 = number(option, parser)?;
    Ok(Duration::from_millis(milliseconds.into()))
}

pub(super) fn path(parser: &mut lexopt::Parser) -> Result<PathBuf, Error> {
    parser.value().map(PathBuf::from).map_err(usage)
}

pub(super) fn protocol(name: &str) -> Result<Option<Protocol>, Error> {
    if name == "auto" {
        return Ok(None);
    }
    let found = PROTOCOLS.iter().copied().find(|protocol| protocol.name == name);
    let names = || PROTOCOLS.iter().map(|protocol| protocol.name).collect::<Vec<_>>().join(", ");
    found.map(Some).ok_or_else(|| Error::Usage(format!("--protocol wants auto or one of {}, not {name}", names())))
}

pub(super) fn lowest(version: &str) -> Result<Lowest, Error> {
    match version {
        "1.2" => Ok(Lowest::V1_2),
        "1.3" => Ok(Lowest::V1_3),
        _ => Err(Error::Usage(format!("--tls-min wants 1.2 or 1.3, not {version}"))),
    }
}

pub(super) fn backend_tls(mode: &str) -> Result<BackendTls, Error> {
    match mode {
        "implicit" => Ok(BackendTls::Implicit),
        "starttls" => Ok(BackendTls::StartTls),
        "opportunistic" => Ok(BackendTls::Opportunistic),
        "none" => Ok(BackendTls::None),
        _ => Err(Error::Usage(format!("--backend-tls wants implicit, starttls, opportunistic or none, not {mode}"))),
    }
}

pub(super) fn proxy_version(name: &str) -> Result<Version, Error> {
    match name {
        "v1" => Ok(Version::V1),
        "v2" => Ok(Version::V2),
        _ => Err(Error::Usage(format!("--proxy-protocol wants v1 or v2, not {name}"))),
    }
}

pub(super) fn demand(word: &str) -> Result<Demand, Error> {
    match word {
        "try" => Ok(Demand::Try),
        "require" => Ok(Demand::Require),
        _ => Err(Error::Usage(format!("--sandbox wants try or require, not {word}"))),
    }
}

/// As `curl --pinnedpubkey` takes them: one, or several with `;` between.
pub(super) fn pins(list: &str) -> Result<Vec<Pin>, Error> {
    let wrong = || Error::Usage(format!("--backend-pin wants sha256//BASE64 of 32 bytes, not {list}"));
    let pin = |text: &str| {
        let mut pin = Pin::default();
        let decoded = Base64::decode(text.strip_prefix("sha256//")?, &mut pin).ok()?;
        (decoded.len() == pin.len()).then_some(pin)
    };
    list.split(';').map(|text| pin(text).ok_or_else(wrong)).collect()
}

pub(super) fn usage(why: lexopt::Error) -> Error {
    Error::Usage(format!("{why}: {SYNOPSIS}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_written_as_curl_takes_it() {
        let pin = "sha256//AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        let bytes: Pin = std::array::from_fn(|place| place as u8);
        assert_eq!(pins(pin).unwrap(), [bytes]);
        assert_eq!(pins(&format!("{pin};{pin}")).unwrap(), [bytes, bytes]);
        for wrong in
            ["", "sha256//", "sha256//AAEC", "sha1//AAEC", &pin[..pin.len() - 1], &format!("{pin};"), &pin[8..]]
        {
            assert_eq!(pins(wrong).expect_err(wrong).exit_code(), 100);
        }
    }
}
