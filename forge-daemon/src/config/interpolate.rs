//! `${NAME}` in values.
