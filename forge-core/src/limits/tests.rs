//! Limits: names, tags and keys at and beyond their bounds.

use proptest::prelude::*;

use super::*;

#[test]
fn names_at_the_bounds() {
    for name in [
        "a",
        "github.issue_comment",
        "a/b:c-d",
        "0",
        &"x".repeat(MAX_NAME),
    ] {
        assert_eq!(check_name("kind", name), Ok(()), "{name}");
    }
    let cases = [
        ("", "it is empty"),
        ("a b", "the character \" \""),
        ("naïve", "the character \"ï\""),
        ("a\nb", "the character \"\\n\""),
        ("a\"b", "not allowed"),
        ("kind;drop", "the character \";\""),
    ];
    for (name, expected) in cases {
        let error = check_name("kind", name).unwrap_err();
        assert!(error.to_string().starts_with("invalid kind"), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
        assert!(error.hint().contains("1 to 128"), "{}", error.hint());
    }
    let long = check_name("queue", &"x".repeat(MAX_NAME + 1)).unwrap_err();
    assert!(long.to_string().contains("129 characters"), "{long}");
}

#[test]
fn tags_at_the_bounds() {
    assert_eq!(check_tags::<&str>(&[]), Ok(()));
    assert_eq!(check_tags(&["größe: XL", &"ß".repeat(MAX_TAG)]), Ok(()));
    assert_eq!(check_tags(&vec!["t"; MAX_TAGS]), Ok(()));
    let many = check_tags(&vec!["t"; MAX_TAGS + 1]).unwrap_err();
    assert!(many.to_string().contains("\"33\""), "{many}");
    for (tag, expected) in [
        ("", "empty"),
        ("a\tb", "control"),
        (&*"ß".repeat(MAX_TAG + 1), "too long"),
    ] {
        let error = check_tags(&["fine", tag]).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn keys_at_the_bounds() {
    assert_eq!(check_key("unique key", &"k".repeat(MAX_KEY)), Ok(()));
    assert!(
        check_key("unique key", "")
            .unwrap_err()
            .to_string()
            .contains("empty")
    );
    let long = check_key("unique key", &"k".repeat(MAX_KEY + 1)).unwrap_err();
    assert!(
        long.to_string().contains("1025 bytes") && long.to_string().len() < 200,
        "{long}"
    );
}

proptest! {
    #[test]
    fn accepted_names_are_as_described(name in "\\PC{0,140}|[A-Za-z0-9._:/-]{1,140}") {
        let described = (1..=MAX_NAME).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:/-".contains(&b));
        prop_assert_eq!(check_name("kind", &name).is_ok(), described);
    }
}
