//! Handlers: where a job or an action runs.
//!
//! Invariants: what parses is well-formed (a schema-qualified function, an absolute URL with a host and no
//! credentials, a valid name) and prints back as text that parses to the same handler. Whether the function
//! or the native handler exists is not known here.

use std::fmt;
use std::str::FromStr;

use crate::invalid::Invalid;
use crate::limits;

/// Longest text read, in bytes.
const MAX_TEXT: usize = 2048;

/// Longest identifier of PostgreSQL, in bytes.
const MAX_IDENTIFIER: usize = 63;

const HINT: &str = "use one of: sql:schema.function, http://host/path, https://host/path, worker, \
                    worker:capability, native:NAME";

/// Where a job runs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Handler {
    /// A function of the database, run in the transaction that completes the job. Names as in the catalog,
    /// without quotes.
    Sql {
        /// Its schema.
        schema: String,
        /// Its name.
        function: String,
    },
    /// A signed HTTP request to this URL.
    Http(String),
    /// A remote worker; with a capability only workers that have it, otherwise that of the kind decides.
    Worker(Option<String>),
    /// Rust code registered with the daemon under this name.
    Native(String),
}

impl Handler {
    /// Reads a handler. Identifiers of `sql:` follow PostgreSQL: folded to lower case unless in double quotes.
    ///
    /// # Errors
    /// [`Invalid`] naming the text and listing what is accepted.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let fail = |problem: String| Invalid::new("handler", text, problem, HINT);
        if text.len() > MAX_TEXT {
            return Err(fail(format!("longer than {MAX_TEXT} characters")));
        }
        if text == "worker" {
            return Ok(Handler::Worker(None));
        }
        let (scheme, rest) = text
            .split_once(':')
            .ok_or_else(|| fail("it does not say what kind of handler it is".into()))?;
        match scheme {
            "sql" => sql(rest).map_err(fail),
            "http" | "https" => url(rest)
                .map(|()| Handler::Http(text.to_owned()))
                .map_err(fail),
            "worker" => name("capability", rest)
                .map(|name| Handler::Worker(Some(name)))
                .map_err(fail),
            "native" => name("native handler", rest)
                .map(Handler::Native)
                .map_err(fail),
            _ => Err(fail(format!("unknown kind of handler \"{scheme}:\""))),
        }
    }

    /// The capability written in the handler itself: `worker:gpu` → `gpu`. `None` leaves it to the kind.
    pub fn capability(&self) -> Option<&str> {
        match self {
            Handler::Worker(capability) => capability.as_deref(),
            _ => None,
        }
    }

    /// The word before the colon, a bounded set fit for a metric label: `sql`, `http`, `worker`, `native`.
    pub const fn transport(&self) -> &'static str {
        match self {
            Handler::Sql { .. } => "sql",
            Handler::Http(_) => "http",
            Handler::Worker(_) => "worker",
            Handler::Native(_) => "native",
        }
    }
}

fn name(what: &'static str, text: &str) -> Result<String, String> {
    limits::check_name(what, text).map_err(|error| error.to_string())?;
    Ok(text.to_owned())
}

/// Reads `schema.function`.
fn sql(text: &str) -> Result<Handler, String> {
    let (schema, rest) = identifier(text)?;
    // Without a schema the function would depend on the search path of whoever runs the job.
    let rest = rest
        .strip_prefix('.')
        .ok_or("the function is not qualified with its schema")?;
    let (function, rest) = identifier(rest)?;
    match rest {
        "" => Ok(Handler::Sql { schema, function }),
        _ => Err(format!(
            "\"{rest}\" after the function's name is not understood"
        )),
    }
}

/// Reads one identifier off the front of `text`, and returns it with the rest.
fn identifier(text: &str) -> Result<(String, &str), String> {
    let (identifier, rest) = match text.strip_prefix('"') {
        Some(quoted) => quoted_identifier(quoted)?,
        None => {
            let end = text
                .find(|c: char| !is_identifier_char(c))
                .unwrap_or(text.len());
            (text[..end].to_ascii_lowercase(), &text[end..])
        }
    };
    match identifier.as_bytes() {
        [] => Err("an identifier is empty".into()),
        [first, ..] if !text.starts_with('"') && (first.is_ascii_digit() || *first == b'$') => Err(
            format!("the identifier \"{identifier}\" starts with a digit or $"),
        ),
        bytes if bytes.len() > MAX_IDENTIFIER => Err(format!(
            "the identifier \"{identifier}\" is longer than {MAX_IDENTIFIER} bytes"
        )),
        _ => Ok((identifier, rest)),
    }
}

/// `text` starts after the opening quote; a doubled quote inside stands for one.
fn quoted_identifier(text: &str) -> Result<(String, &str), String> {
    let mut identifier = String::new();
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' if chars.next_if(|(_, next)| *next == '"').is_some() => identifier.push('"'),
            '"' => return Ok((identifier, &text[at + 1..])),
            '\0' => return Err("an identifier contains a null character".into()),
            c => identifier.push(c),
        }
    }
    Err("the closing quote is missing".into())
}

fn is_identifier_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '$') || (!c.is_ascii() && c.is_alphanumeric())
}

/// Checks what follows `http:` or `https:`.
fn url(rest: &str) -> Result<(), String> {
    let rest = rest
        .strip_prefix("//")
        .ok_or("\"//\" is missing after the scheme")?;
    if let Some(bad) = rest.chars().find(|c| c.is_whitespace() || c.is_control()) {
        return Err(format!(
            "the character \"{}\" is not allowed in a URL",
            bad.escape_debug()
        ));
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        // The handler is shown in views and logs.
        return Err("a URL with a user name or password is not accepted".into());
    }
    let (host, port) = host_and_port(authority)?;
    if host.is_empty() {
        return Err("the URL has no host".into());
    }
    match port.map(str::parse::<u16>) {
        None => Ok(()),
        Some(Ok(port)) if port > 0 => Ok(()),
        Some(_) => Err("the port is not a number from 1 to 65535".into()),
    }
}

/// Splits an authority; an IPv6 address is in brackets.
fn host_and_port(authority: &str) -> Result<(&str, Option<&str>), String> {
    let Some(inside) = authority.strip_prefix('[') else {
        return Ok(match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        });
    };
    let (host, after) = inside
        .split_once(']')
        .ok_or("the closing bracket of the address is missing")?;
    if host.parse::<std::net::Ipv6Addr>().is_err() {
        return Err(format!("\"{host}\" is not an IPv6 address"));
    }
    match after.strip_prefix(':') {
        Some(port) => Ok((host, Some(port))),
        None if after.is_empty() => Ok((host, None)),
        None => Err("a port was expected after the address".into()),
    }
}

impl FromStr for Handler {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::parse(text)
    }
}

impl fmt::Display for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Handler::Sql { schema, function } => {
                write!(f, "sql:{}.{}", quote(schema), quote(function))
            }
            Handler::Http(url) => f.write_str(url),
            Handler::Worker(None) => f.write_str("worker"),
            Handler::Worker(Some(capability)) => write!(f, "worker:{capability}"),
            Handler::Native(name) => write!(f, "native:{name}"),
        }
    }
}

/// The identifier as SQL text: in quotes unless it reads back as itself without.
fn quote(identifier: &str) -> String {
    let plain = !identifier.starts_with(|c: char| c.is_ascii_digit())
        && identifier
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if plain {
        identifier.to_owned()
    } else {
        format!("\"{}\"", identifier.replace('"', "\"\""))
    }
}

#[cfg(test)]
mod tests;
