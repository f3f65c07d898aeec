//! Time zones by IANA name.
//!
//! Invariant: only the zone rules compiled into the program are used, never those of the machine, so that
//! two nodes cannot disagree about an instant.

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use jiff::tz::{TimeZone, TimeZoneDatabase};

use crate::invalid::Invalid;

/// Longest name looked up, in bytes; the longest that exists has 32.
const MAX_TEXT: usize = 64;

/// Constant data; it is here once because looking a zone up decodes it and the database remembers that.
static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// A time zone with all its past and future changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone(TimeZone);

impl Zone {
    /// Coordinated universal time, the default of schedules.
    pub const UTC: Zone = Zone(TimeZone::UTC);

    /// Reads an IANA name such as `Europe/Berlin` or `UTC`; upper and lower case do not matter.
    ///
    /// # Errors
    /// [`Invalid`] naming the text. Offsets (`+02:00`) and POSIX rules are not accepted.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let found = if text.len() <= MAX_TEXT {
            ZONES.get(text).ok()
        } else {
            None
        };
        found
            .filter(|zone| !zone.is_unknown())
            .map(Zone)
            .ok_or_else(|| {
                Invalid::new(
                    "time zone",
                    text,
                    "there is no such zone",
                    "use an IANA name such as \"UTC\", \"Europe/Berlin\" or \"America/New_York\"",
                )
            })
    }

    /// The IANA name, in the spelling of the IANA database.
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }

    /// The rules themselves.
    pub fn rules(&self) -> &TimeZone {
        &self.0
    }
}

impl FromStr for Zone {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::parse(text)
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
