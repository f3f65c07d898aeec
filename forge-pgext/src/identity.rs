//! Identity: who is calling, sessions, encryption, the audit log, and secrets made from the operating system's randomness.

pub mod audit;
pub mod caller;
pub mod cipher;
pub mod current;
pub mod secret;
pub mod session;
