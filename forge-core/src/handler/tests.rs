//! Handlers: the forms accepted, refusals, printing as the inverse of reading.

use proptest::prelude::*;

use super::*;

fn sql(schema: &str, function: &str) -> Handler {
    Handler::Sql {
        schema: schema.into(),
        function: function.into(),
    }
}

#[test]
fn reads_every_form() {
    let cases = [
        ("sql:app.on_push", sql("app", "on_push")),
        ("sql:App.On_Push", sql("app", "on_push")),
        ("sql:\"My App\".\"on\"\"push\"", sql("My App", "on\"push")),
        ("sql:app.größe", sql("app", "größe")),
        (
            "http://localhost:8080/hook?x=1",
            Handler::Http("http://localhost:8080/hook?x=1".into()),
        ),
        (
            "https://example.com",
            Handler::Http("https://example.com".into()),
        ),
        (
            "https://[::1]:8443/a",
            Handler::Http("https://[::1]:8443/a".into()),
        ),
        ("https://[::1]", Handler::Http("https://[::1]".into())),
        (
            "https://example.com/@me",
            Handler::Http("https://example.com/@me".into()),
        ),
        ("worker", Handler::Worker(None)),
        ("worker:python", Handler::Worker(Some("python".into()))),
        ("native:pipeline", Handler::Native("pipeline".into())),
    ];
    for (text, expected) in cases {
        assert_eq!(Handler::parse(text).unwrap(), expected, "{text}");
    }
}

#[test]
fn capability_and_transport() {
    let parse = |text| Handler::parse(text).unwrap();
    assert_eq!(parse("worker:gpu").capability(), Some("gpu"));
    assert_eq!(parse("worker").capability(), None);
    assert_eq!(parse("native:gpu").capability(), None);
    let transports =
        ["sql:a.b", "https://h", "worker", "native:x"].map(|text| parse(text).transport());
    assert_eq!(transports, ["sql", "http", "worker", "native"]);
}

#[test]
fn refuses_and_says_why() {
    let cases = [
        ("", "what kind of handler"),
        ("app.on_push", "what kind of handler"),
        ("ftp://example.com", "unknown kind of handler \"ftp:\""),
        ("SQL:a.b", "unknown kind"),
        (" worker", "what kind of handler"),
        ("sql:", "identifier is empty"),
        ("sql:on_push", "not qualified with its schema"),
        ("sql:app.", "identifier is empty"),
        ("sql:app.on_push()", "\"()\" after the function's name"),
        ("sql:a.b.c", "\".c\" after"),
        ("sql:a.b; drop table x", "\"; drop table x\" after"),
        ("sql:1a.b", "starts with a digit"),
        ("sql:\"a.b", "closing quote"),
        ("sql:\"\".b", "identifier is empty"),
        ("http:example.com", "\"//\" is missing"),
        ("http://", "no host"),
        ("http:///path", "no host"),
        ("http://:80/", "no host"),
        ("http://user:secret@example.com/", "user name or password"),
        ("http://example.com:0/", "port"),
        ("http://example.com:65536/", "port"),
        ("http://example.com:/", "port"),
        ("http://exam ple.com/", "\" \" is not allowed"),
        ("http://example.com/\r\nX-Evil: 1", "not allowed"),
        ("http://[::1/", "closing bracket"),
        ("http://[local]/", "not an IPv6 address"),
        ("http://[::1]80/", "port was expected"),
        ("worker:", "it is empty"),
        ("worker:a b", "\" \" is not allowed"),
        ("native:", "it is empty"),
        ("native:ü", "not allowed"),
    ];
    for (text, expected) in cases {
        let error = Handler::parse(text).unwrap_err();
        assert!(error.to_string().contains(expected), "{text}: {error}");
        assert!(error.hint().contains("worker:capability"), "{text}");
    }
    assert!(Handler::parse(&format!("sql:a.{}", "b".repeat(64))).is_err());
    assert!(Handler::parse(&format!("https://h/{}", "b".repeat(3_000))).is_err());
}

proptest! {
    #[test]
    fn printing_is_the_inverse_of_reading(schema in "[^\\x00]{1,15}", function in "[^\\x00]{1,15}") {
        let handler = sql(&schema, &function);
        prop_assert_eq!(Handler::parse(&handler.to_string()).unwrap(), handler);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,30}|(sql|http|https|worker|native):[\"a-z0-9./:@\\[\\] ]{0,20}") {
        if let Ok(handler) = Handler::parse(&text) {
            prop_assert_eq!(Handler::parse(&handler.to_string()).unwrap(), handler);
        }
    }
}
