//! The values of options.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use starttls_protocols::Protocol;

use crate::config::BackendTls;
use crate::message::Error;
use crate::proxy::Version;
use crate::sandbox::SandboxMode;
use crate::tls::{MinVersion, Pin, pin};

/// An option, and the way to its value.
pub(super) struct Argument<'a> {
    pub(super) option: &'a str,
    pub(super) parser: &'a mut lexopt::Parser,
    /// For who got it wrong.
    pub(super) synopsis: &'static str,
}

impl Argument<'_> {
    pub(super) fn unknown(&self) -> Error {
        Error::Usage(format!("unknown option {}: {}", self.option, self.synopsis))
    }

    pub(super) fn any(&mut self) -> Result<OsString, Error> {
        self.parser.value().map_err(|why| usage(&why, self.synopsis))
    }

    pub(super) fn text(&mut self) -> Result<String, Error> {
        self.any()?.into_string().map_err(|_| Error::Usage(format!("{} wants UTF-8", self.option)))
    }

    pub(super) fn number<T: FromStr>(&mut self) -> Result<T, Error> {
        let value = self.text()?;
        value.parse().map_err(|_| Error::Usage(format!("{} wants a number, not {value}", self.option)))
    }

    pub(super) fn milliseconds(&mut self) -> Result<Duration, Error> {
        let milliseconds: u32 = self.number()?;
        Ok(Duration::from_millis(milliseconds.into()))
    }

    pub(super) fn path(&mut self) -> Result<PathBuf, Error> {
        self.any().map(PathBuf::from)
    }

    pub(super) fn protocol(&mut self, protocols: &[Protocol]) -> Result<Option<Protocol>, Error> {
        let name = self.text()?;
        if name == "auto" {
            return Ok(None);
        }
        let found = protocols.iter().copied().find(|protocol| protocol.name == name);
        let names = || protocols.iter().map(|protocol| protocol.name).collect::<Vec<_>>().join(", ");
        found.map(Some).ok_or_else(|| Error::Usage(format!("--protocol wants auto or one of {}, not {name}", names())))
    }

    pub(super) fn min_version(&mut self) -> Result<MinVersion, Error> {
        match self.text()?.as_str() {
            "1.2" => Ok(MinVersion::V1_2),
            "1.3" => Ok(MinVersion::V1_3),
            other => Err(Error::Usage(format!("--tls-min wants 1.2 or 1.3, not {other}"))),
        }
    }

    pub(super) fn backend_tls(&mut self) -> Result<BackendTls, Error> {
        match self.text()?.as_str() {
            "implicit" => Ok(BackendTls::Implicit),
            "starttls" => Ok(BackendTls::StartTls),
            "opportunistic" => Ok(BackendTls::Opportunistic),
            "none" => Ok(BackendTls::None),
            mode => {
                Err(Error::Usage(format!("--backend-tls wants implicit, starttls, opportunistic or none, not {mode}")))
            }
        }
    }

    pub(super) fn proxy_version(&mut self) -> Result<Version, Error> {
        match self.text()?.as_str() {
            "v1" => Ok(Version::V1),
            "v2" => Ok(Version::V2),
            name => Err(Error::Usage(format!("--proxy-protocol wants v1 or v2, not {name}"))),
        }
    }

    pub(super) fn sandbox_mode(&mut self) -> Result<SandboxMode, Error> {
        match self.text()?.as_str() {
            "try" => Ok(SandboxMode::Try),
            "require" => Ok(SandboxMode::Require),
            word => Err(Error::Usage(format!("--sandbox wants try or require, not {word}"))),
        }
    }

    /// As `curl --pinnedpubkey` takes them: one, or several with `;` between.
    pub(super) fn pins(&mut self) -> Result<Vec<Pin>, Error> {
        let list = self.text()?;
        pin::read(&list)
            .ok_or_else(|| Error::Usage(format!("{} wants sha256//BASE64 of 32 bytes, not {list}", self.option)))
    }
}

pub(super) fn usage(why: &lexopt::Error, synopsis: &str) -> Error {
    Error::Usage(format!("{why}: {synopsis}"))
}
