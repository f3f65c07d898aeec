//! What is wrong with a configuration, and where.

use std::fmt;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The file of this name.
    File(String),
    /// The environment variable of this name.
    Environment(String),
    /// The program itself: a default or a flag.
    Program,
}

/// One mistake: which field, from where, what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// `section.field`.
    pub field: String,
    /// Where the value came from.
    pub source: Source,
    /// What is wrong and what would be right.
    pub message: String,
}

/// Every mistake of a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
pub struct Mistakes(pub Vec<Mistake>);

impl Mistakes {
    /// A single mistake of a value set by the program.
    pub fn one(field: &str, message: String) -> Self {
        Self(vec![Mistake {
            field: field.into(),
            source: Source::Program,
            message,
        }])
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Source::File(file) => write!(f, "{} ({file}): {}", self.field, self.message),
            Source::Environment(name) => write!(f, "{} ({name}): {}", self.field, self.message),
            Source::Program => write!(f, "{}: {}", self.field, self.message),
        }
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        write!(
            f,
            "the configuration has {count} mistake{}:",
            if count == 1 { "" } else { "s" }
        )?;
        self.0
            .iter()
            .try_for_each(|mistake| write!(f, "\n  {mistake}"))
    }
}
