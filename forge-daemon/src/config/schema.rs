//! JSON Schema of the configuration.
