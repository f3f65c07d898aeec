//! Identity: secrets made from the operating system's randomness, and who is calling.

pub mod caller;
pub mod secret;
