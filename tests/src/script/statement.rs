//! SQL scripts as statements, told apart by what they are about. Knows what the files of `sql/` use: quotes, dollar
//! quotes and comments; names there are plain and qualified.

/// The statements of a script, without the comments before them and the semicolon after.
#[must_use]
pub fn split(script: &str) -> Vec<&str> {
    let mut statements = Vec::new();
    let (mut start, mut at) = (0, 0);
    while at < script.len() {
        let rest = &script[at..];
        let blank = script[start..at].trim().is_empty();
        if rest.starts_with("--") || (blank && rest.starts_with('\\')) {
            at += rest.find('\n').map_or(rest.len(), |end| end + 1);
            if blank {
                start = at;
            }
        } else if rest.starts_with(';') {
            statements.push(script[start..at].trim());
            at += 1;
            start = at;
        } else {
            at += quoted(rest);
        }
    }
    if !script[start..].trim().is_empty() {
        statements.push(script[start..].trim());
    }
    statements
}

/// Length of the quoted text that `rest` begins with, or of its first character.
fn quoted(rest: &str) -> usize {
    let until = |quote: &str, from: usize| {
        rest[from..]
            .find(quote)
            .map_or(rest.len(), |end| from + end + quote.len())
    };
    match rest.as_bytes()[0] {
        // A doubled quote is two quoted texts side by side.
        b'\'' => until("'", 1),
        b'"' => until("\"", 1),
        b'$' => match rest[1..].find('$') {
            Some(end) if rest[1..=end].bytes().all(is_word) => until(&rest[..end + 2], end + 2),
            _ => 1,
        },
        _ => rest.chars().next().map_or(1, char::len_utf8),
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// What a statement makes or is about: `function`, `view`, … and its name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Subject {
    pub sort: String,
    pub name: String,
}

/// What `CREATE`, `DROP` and `COMMENT ON` are about; of an index its own name.
#[must_use]
pub fn subject(statement: &str) -> Option<Subject> {
    let mut words = statement
        .split(|c: char| c.is_whitespace() || c == '(' || c == ',')
        .filter(|word| !word.is_empty());
    match words.next()? {
        "CREATE" | "DROP" => {}
        "COMMENT" if words.next()? == "ON" => {}
        _ => return None,
    }
    let mut next = || {
        words.find(|word| !matches!(*word, "OR" | "REPLACE" | "UNIQUE" | "IF" | "NOT" | "EXISTS"))
    };
    let sort = next()?.to_ascii_lowercase();
    Some(Subject {
        sort,
        name: next()?.to_owned(),
    })
}

/// What callers of a function rely on: everything before its language.
#[must_use]
pub fn signature(function: &str) -> &str {
    let end = function.find("LANGUAGE").unwrap_or(function.len());
    function[..end].trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_at_semicolons_outside_of_quotes() {
        let script = "-- first; comment\n\\echo x \\quit\nSELECT 'a;''b', \"c;d\"; -- then\n\
                      CREATE FUNCTION f() AS $body$ x; $$ y; $$ $body$;\nSELECT $1 + 2;\n";
        assert_eq!(
            split(script),
            [
                "SELECT 'a;''b', \"c;d\"",
                "CREATE FUNCTION f() AS $body$ x; $$ y; $$ $body$",
                "SELECT $1 + 2"
            ]
        );
    }

    #[test]
    fn knows_what_a_statement_is_about() {
        let of = |text| subject(text).map(|s| (s.sort, s.name));
        let pair = |sort: &str, name: &str| Some((sort.to_owned(), name.to_owned()));
        assert_eq!(of("CREATE FUNCTION a.b(c int)"), pair("function", "a.b"));
        assert_eq!(of("CREATE OR REPLACE VIEW a.b AS"), pair("view", "a.b"));
        assert_eq!(
            of("COMMENT ON FUNCTION a.b(int) IS"),
            pair("function", "a.b")
        );
        assert_eq!(of("CREATE UNIQUE INDEX i ON a.b (c)"), pair("index", "i"));
        assert_eq!(of("DROP VIEW IF EXISTS a.b"), pair("view", "a.b"));
        assert_eq!(of("SELECT 1"), None);
        assert_eq!(of("DO $$ CREATE TABLE x $$"), None);
    }

    #[test]
    fn a_signature_ends_at_the_language() {
        let function = "CREATE FUNCTION a.b(c int) RETURNS int\n    LANGUAGE sql AS 'SELECT 1'";
        assert_eq!(
            signature(function),
            "CREATE FUNCTION a.b(c int) RETURNS int"
        );
    }
}
