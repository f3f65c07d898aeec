//! Rules between fields.

use super::{Config, Mistakes};

impl Config {
    /// Checks what types cannot say.
    pub fn check(&self) -> Result<(), Mistakes> {
        Ok(())
    }
}
