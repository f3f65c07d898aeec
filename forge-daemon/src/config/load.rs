//! Reading the configuration: file, then environment, all mistakes at once.

use std::{collections::BTreeMap, path::Path};

use toml::{Table, Value};

use super::{
    Config, Mistake, Mistakes, Source,
    environment::{self, settings},
    interpolate::interpolate,
    schema::{self, Fields},
};

/// Reads `file`, else `$FORGE_CONFIG`, else `forge.toml` when it is there, and lays the environment over it.
///
/// `defaults` stand under the file, `overrides` over the environment; both are `section.field` and the text of the
/// value as an environment variable would have it.
pub fn read(
    file: Option<&Path>,
    defaults: &[(&str, &str)],
    overrides: &[(&str, String)],
) -> Result<Config, Mistakes> {
    let named = file
        .map(Path::to_owned)
        .or_else(|| std::env::var_os("FORGE_CONFIG").map(Into::into));
    let (path, required) = match named {
        Some(path) => (path, true),
        None => ("forge.toml".into(), false),
    };
    let shown = path.display().to_string();
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => Some(text),
        Err(error) if !required && error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(Mistakes::one(&shown, format!("cannot be read: {error}"))),
    };
    let variables = std::env::vars_os()
        .filter_map(|(name, text)| Some((name.into_string().ok()?, text.into_string().ok()?)));
    Layers {
        file: text.as_deref().map(|text| (shown.as_str(), text)),
        variables: variables.collect(),
        defaults,
        overrides,
    }
    .parse()
}

/// What a configuration is made of, from the weakest to the strongest: defaults, file, environment, overrides.
#[derive(Default)]
struct Layers<'a> {
    file: Option<(&'a str, &'a str)>,
    variables: BTreeMap<String, String>,
    defaults: &'a [(&'a str, &'a str)],
    overrides: &'a [(&'a str, String)],
}

impl Layers<'_> {
    fn parse(self) -> Result<Config, Mistakes> {
        let mut draft = Draft::new(self.file.map(|(name, _)| name));
        if let Some((_, text)) = self.file {
            draft.file(text, &|name| self.variables.get(name).cloned());
        }
        draft.environment(self.variables.into_iter());
        for (path, text) in self.overrides {
            draft.program(path, text, true);
        }
        for (path, text) in self.defaults {
            draft.program(path, text, false);
        }
        draft.refuse_unknown();
        let config = draft.typed();
        if let Err(Mistakes(found)) = config.check() {
            for mistake in found {
                draft.mistake(&mistake.field, mistake.message);
            }
        }
        if draft.mistakes.is_empty() {
            Ok(config)
        } else {
            Err(Mistakes(draft.mistakes))
        }
    }
}

/// A configuration in the making: untyped values, where they came from, mistakes so far.
struct Draft {
    fields: Fields,
    file: Source,
    table: Table,
    variables: BTreeMap<String, Source>,
    mistakes: Vec<Mistake>,
}

impl Draft {
    fn new(file: Option<&str>) -> Self {
        Self {
            fields: schema::fields(),
            file: file.map_or(Source::Program, |name| Source::File(name.to_owned())),
            table: Table::new(),
            variables: BTreeMap::new(),
            mistakes: Vec::new(),
        }
    }

    /// Notes a mistake, unless the field already has one: a wrong value is reported once.
    fn mistake(&mut self, field: &str, message: String) {
        if self.mistakes.iter().any(|known| known.field == field) {
            return;
        }
        let source = match self.variables.get(field) {
            Some(variable) => variable.clone(),
            None if self.value(field).is_some() => self.file.clone(),
            None => Source::Program,
        };
        self.mistakes.push(Mistake {
            field: field.to_owned(),
            source,
            message,
        });
    }

    fn value(&self, field: &str) -> Option<&Value> {
        let mut parts = field.split('.');
        let first = self.table.get(parts.next()?)?;
        parts.try_fold(first, |value, part| value.get(part))
    }

    fn file(&mut self, text: &str, lookup: &dyn Fn(&str) -> Option<String>) {
        match text.parse::<Table>() {
            Ok(table) => {
                let mut root = Value::Table(table);
                let mut found = Vec::new();
                interpolate(&mut root, "", lookup, &mut |path, message| {
                    found.push((path.to_owned(), message))
                });
                if let Value::Table(table) = root {
                    self.table = table;
                }
                found
                    .into_iter()
                    .for_each(|(path, message)| self.mistake(&path, message));
            }
            Err(error) => {
                let source = self.file.clone();
                let line = error
                    .span()
                    .map_or(1, |span| 1 + text[..span.start].matches('\n').count());
                let message = format!("not TOML: {}", error.message());
                self.mistakes.push(Mistake {
                    field: format!("line {line}"),
                    source,
                    message,
                });
            }
        }
    }

    fn environment(&mut self, variables: impl Iterator<Item = (String, String)>) {
        for setting in settings(variables, &self.fields) {
            match setting {
                Ok(setting) => {
                    let path = format!("{}.{}", setting.section, setting.field);
                    self.variables
                        .insert(path, Source::Environment(setting.variable));
                    let section = self
                        .table
                        .entry(setting.section)
                        .or_insert_with(|| Value::Table(Table::new()));
                    if let Value::Table(section) = section {
                        section.insert(setting.field, setting.value);
                    }
                }
                Err((variable, path)) => {
                    let message = self.unknown(&path);
                    self.mistakes.push(Mistake {
                        field: path,
                        source: Source::Environment(variable),
                        message,
                    });
                }
            }
        }
    }

    /// Sets a value of the program's own, over what is there or only where nothing is.
    fn program(&mut self, path: &str, text: &str, over: bool) {
        let Some((section, field)) = path.split_once('.') else {
            return;
        };
        let Some(kind) = self
            .fields
            .get(section)
            .and_then(|fields| fields.get(field))
        else {
            return;
        };
        let value = environment::read(*kind, text);
        let table = self
            .table
            .entry(section)
            .or_insert_with(|| Value::Table(Table::new()));
        if let Value::Table(table) = table
            && (over || !table.contains_key(field))
        {
            table.insert(field.to_owned(), value);
            self.variables.insert(path.to_owned(), Source::Program);
        }
    }

    /// Takes every name that is no field out of the table, and says so.
    fn refuse_unknown(&mut self) {
        let mut unknown = Vec::new();
        let fields = &self.fields;
        for (section, value) in &self.table {
            match (fields.get(section), value) {
                (None, _) => unknown.push(section.clone()),
                (Some(known), Value::Table(values)) => unknown.extend(
                    values
                        .keys()
                        .filter(|field| !known.contains_key(*field))
                        .map(|field| format!("{section}.{field}")),
                ),
                (Some(_), _) => {}
            }
        }
        for path in unknown {
            let message = self.unknown(&path);
            self.mistake(&path, message);
            self.remove(&path);
        }
    }

    fn unknown(&self, path: &str) -> String {
        let (section, field) = path.split_once('.').unwrap_or((path, ""));
        let candidates: Vec<&str> = match self.fields.get(section) {
            Some(fields) => fields.keys().map(String::as_str).collect(),
            None => self.fields.keys().map(String::as_str).collect(),
        };
        let (what, name) = if self.fields.contains_key(section) {
            ("field", field)
        } else {
            ("section", section)
        };
        match nearest(name, &candidates) {
            Some(meant) => format!("unknown {what} `{name}`; did you mean `{meant}`?"),
            None => format!(
                "unknown {what} `{name}`; known are {}",
                candidates.join(", ")
            ),
        }
    }

    /// The typed configuration: each value that does not fit is noted, taken out, and the rest tried again.
    fn typed(&mut self) -> Config {
        loop {
            let error = match serde_path_to_error::deserialize::<_, Config>(Value::Table(
                self.table.clone(),
            )) {
                Ok(config) => return config,
                Err(error) => error,
            };
            let path = error.path().to_string();
            // An element of a list is taken out with its list.
            let field: String = path
                .split('[')
                .next()
                .unwrap_or_default()
                .split('.')
                .take(2)
                .collect::<Vec<_>>()
                .join(".");
            let message = self.naming_value(&field, error.inner().message());
            self.mistake(&field, message);
            if !self.remove(&field) {
                return Config::default();
            }
        }
    }

    /// The message with the value in it, unless it is there already or must not be shown.
    fn naming_value(&self, field: &str, message: &str) -> String {
        let secret = field.ends_with("url") || field.ends_with("secret");
        match self.value(field).and_then(Value::as_str) {
            Some(value) if !secret && !message.contains(value) => format!("`{value}`: {message}"),
            _ => message.to_owned(),
        }
    }

    fn remove(&mut self, path: &str) -> bool {
        match path.split_once('.') {
            Some((section, field)) => self
                .table
                .get_mut(section)
                .and_then(Value::as_table_mut)
                .is_some_and(|table| table.remove(field).is_some()),
            None => self.table.remove(path).is_some(),
        }
    }
}

/// The candidate that a slip of the finger could have turned into `name`.
fn nearest<'a>(name: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let near = candidates
        .iter()
        .map(|candidate| (distance(name, candidate), *candidate))
        .min()?;
    (near.0 <= 1 + name.len() / 4).then_some(near.1)
}

/// Edit distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let change = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Bytes, Role, Span};

    const URL: (&str, &str) = ("FORGE_DATABASE__URL", "postgres://app@db/app");

    fn load(text: &str, variables: &[(&str, &str)]) -> Result<Config, Mistakes> {
        let variables = variables
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        Layers {
            file: Some(("forge.toml", text)),
            variables: variables.collect(),
            ..Layers::default()
        }
        .parse()
    }

    #[test]
    fn the_program_stands_under_and_over() {
        let layers = Layers {
            file: Some(("forge.toml", "[node]\nname = 'file'")),
            variables: BTreeMap::from([(URL.0.to_owned(), URL.1.to_owned())]),
            defaults: &[("node.name", "default"), ("outbound.allow_private", "true")],
            overrides: &[("database.url", "postgres://flag/db".to_owned())],
        };
        let config = layers.parse().unwrap();
        assert_eq!(config.node.name.as_deref(), Some("file"));
        assert!(config.outbound.allow_private);
        assert_eq!(config.database.url.expose(), "postgres://flag/db");
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let text = "[http]\nlisten = '0.0.0.0:80'\nbody_limit = '2MiB'\n[node]\nheartbeat = '2s'\nroles = ['gateway']\n";
        let config = load(
            text,
            &[
                URL,
                ("FORGE_HTTP__LISTEN", "127.0.0.1:0"),
                ("FORGE_WORKER__QUEUES", "mail, media"),
            ],
        )
        .unwrap();
        assert_eq!(config.http.listen.port(), 0);
        assert_eq!(config.http.body_limit, Bytes::mib(2));
        assert_eq!(config.node.heartbeat, Span::secs(2));
        assert_eq!(config.node.roles, [Role::Gateway]);
        assert_eq!(config.worker.queues.unwrap(), ["mail", "media"]);
        assert_eq!(config.database.url.expose(), URL.1);
    }

    #[test]
    fn variables_are_interpolated() {
        let config = load(
            "[database]\nurl = 'postgres://app:${PW}@db/app'",
            &[("PW", "s3cret")],
        )
        .unwrap();
        assert_eq!(config.database.url.expose(), "postgres://app:s3cret@db/app");
        assert!(!format!("{config:?}").contains("s3cret"));
    }

    #[test]
    fn every_mistake_is_reported_at_once() {
        let text = "[http]\nlisten = 'nowhere'\nbodylimit = 3\n[nod]\nname = 'x'\n[node]\nroles = ['gateway', 'boss']\nheartbeat = 'soon'\n\
                    [worker]\nconcurrency = 'many'\n[outbound]\nsigning_secret = '${NOPE}'\n";
        let variables = [
            ("FORGE_DATABASE__POOL_SIZE", "lots"),
            ("FORGE_GRPC__LISTENN", "x"),
            ("FORGE_CONFIG", "ignored"),
        ];
        let Mistakes(found) = load(text, &variables).unwrap_err();
        let fields: Vec<&str> = found.iter().map(|mistake| mistake.field.as_str()).collect();
        for field in [
            "outbound.signing_secret",
            "grpc.listenn",
            "http.bodylimit",
            "nod",
            "http.listen",
            "node.roles",
            "node.heartbeat",
            "worker.concurrency",
            "database.pool_size",
            "database.url",
        ] {
            assert!(fields.contains(&field), "{field} is missing in {fields:?}");
        }
        assert_eq!(fields.len(), 10, "{found:#?}");
        let text = Mistakes(found).to_string();
        for part in [
            "did you mean `body_limit`?",
            "did you mean `node`?",
            "(FORGE_DATABASE__POOL_SIZE)",
            "`boss`",
            "\"soon\"",
            "`NOPE`",
            "`nowhere`",
        ] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
    }

    #[test]
    fn bad_toml_names_the_line() {
        let text = load("[http]\nlisten = \n", &[URL]).unwrap_err().to_string();
        assert!(text.contains("line 2 (forge.toml): not TOML"), "{text}");
    }

    #[test]
    fn a_section_that_is_no_table_is_a_mistake() {
        let text = load("http = 5", &[URL, ("FORGE_HTTP__LISTEN", "127.0.0.1:1")])
            .unwrap_err()
            .to_string();
        assert!(text.contains("http (forge.toml)"), "{text}");
    }
}
