//! Forge daemon.
