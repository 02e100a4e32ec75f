//! The numbers of the descriptors that a UCSPI-TLS server left open.

use std::os::fd::RawFd;

use super::DESCRIPTOR_VARIABLES;
use crate::message::Error;

/// Those of the control socket, of the pipe to read from, of the pipe to write to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DescriptorNumbers(pub [RawFd; 3]);

impl DescriptorNumbers {
    /// From the environment: all three, or none of them.
    ///
    /// # Errors
    /// [`Error::Environment`].
    pub fn of(values: [Option<&str>; 3]) -> Result<Option<Self>, Error> {
        if values.iter().all(Option::is_none) {
            return Ok(None);
        }
        let wrong =
            || Error::Environment(format!("{} must be three descriptors above 2", DESCRIPTOR_VARIABLES.join(", ")));
        let number = |value: Option<&str>| value.and_then(|text| text.parse().ok()).filter(|number| *number > 2);
        let [control, input, output] = values.map(number);
        let numbers = [control.ok_or_else(wrong)?, input.ok_or_else(wrong)?, output.ok_or_else(wrong)?];
        let distinct = control != input && input != output && output != control;
        if distinct { Ok(Some(Self(numbers))) } else { Err(wrong()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_numbers_or_none() {
        let of = |values: [&str; 3]| DescriptorNumbers::of(values.map(Some)).ok().flatten();
        assert_eq!(of(["3", "4", "5"]), Some(DescriptorNumbers([3, 4, 5])));
        for wrong in [["3", "4", "4"], ["2", "4", "5"], ["3", "x", "5"], ["-1", "4", "5"], ["3", "", "5"]] {
            assert_eq!(of(wrong), None, "{wrong:?}");
        }
        assert!(DescriptorNumbers::of([Some("3"), None, Some("5")]).is_err());
        assert_eq!(DescriptorNumbers::of([None; 3]).ok(), Some(None));
    }
}
