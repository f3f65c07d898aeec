//! Error codes: the table of the contract, and that every SQLSTATE has an answer.

use proptest::prelude::*;

use super::*;

#[test]
fn the_table_of_codes() {
    let table = [
        ("ZF001", 404, 5),
        ("ZF002", 422, 3),
        ("ZF003", 403, 7),
        ("ZF004", 401, 16),
        ("ZF005", 409, 6),
        ("ZF006", 429, 8),
        ("ZF007", 503, 14),
        ("ZF008", 504, 4),
        ("ZF009", 413, 11),
        ("ZF010", 409, 10),
        ("ZF011", 501, 9),
        ("ZF012", 502, 14),
        ("ZF013", 422, 9),
    ];
    for (code, (sqlstate, http, grpc)) in Code::ALL.into_iter().zip(table) {
        assert_eq!(
            (code.sqlstate(), code.http(), code.grpc()),
            (sqlstate, http, grpc)
        );
        assert_eq!(Code::from_sqlstate(sqlstate), Some(code));
        assert_eq!(Status::from_sqlstate(sqlstate), code.status());
        assert_eq!(code.to_string(), sqlstate);
        assert!(!code.title().is_empty());
    }
}

#[test]
fn standard_sqlstates() {
    // SQLSTATE, HTTP, gRPC, retryable, name
    let table = [
        ("42501", 403, 7, false, "ZF003"),
        ("23505", 409, 6, false, "ZF005"),
        ("23503", 422, 3, false, "ZF002"),
        ("23514", 422, 3, false, "ZF002"),
        ("22P02", 422, 3, false, "ZF002"),
        ("22012", 422, 3, false, "ZF002"),
        ("40001", 409, 10, true, "40001"),
        ("40P01", 409, 10, true, "40001"),
        ("57014", 504, 4, true, "ZF008"),
        ("57P01", 503, 14, true, "ZF007"),
        ("08006", 503, 14, true, "ZF007"),
        ("53300", 503, 14, true, "ZF007"),
        ("PT404", 404, 5, false, "PT404"),
        ("PT422", 422, 3, false, "PT422"),
        ("PT503", 503, 14, true, "PT503"),
        ("PT418", 418, 9, false, "PT418"),
        ("PT204", 204, 0, false, "PT204"),
        ("42P01", 500, 13, false, "XX000"),
        ("XX000", 500, 13, false, "XX000"),
        ("P0001", 500, 13, false, "XX000"),
    ];
    for (sqlstate, http, grpc, retryable, name) in table {
        let status = Status::from_sqlstate(sqlstate);
        let got = (
            status.http,
            status.grpc,
            status.retryable,
            status.name.as_ref(),
        );
        assert_eq!(got, (http, grpc, retryable, name), "{sqlstate}");
    }
}

#[test]
fn what_is_not_a_sqlstate_shows_nothing() {
    for text in [
        "", "PT", "PT4", "PT4O4", "PT099", "PT100", "PT600", "PT4044", "PT+40", "zf001", "22",
        "22é0", "ZF014",
    ] {
        let status = Status::from_sqlstate(text);
        assert_eq!(status, Status::INTERNAL, "{text}");
        assert!(!status.is_public());
    }
    assert!(Code::NotFound.status().is_public());
}

#[test]
fn raised_statuses_agree_with_the_codes() {
    for code in Code::ALL {
        let raised = Status::from_sqlstate(&format!("PT{}", code.http()));
        // Several codes share 409, 422 and 501 has a meaning of its own in gRPC.
        let shared = matches!(code, Code::LeaseLost | Code::NotTracked | Code::NeedsSetup);
        assert!(shared || raised.grpc == code.grpc(), "{code}");
        assert_eq!(raised.retryable, code.retryable(), "{code}");
    }
}

proptest! {
    #[test]
    fn every_text_has_a_status(text in "\\PC{0,8}|PT[0-9]{3}|[0-9A-Z]{5}") {
        let status = Status::from_sqlstate(&text);
        prop_assert!((200..=599).contains(&status.http));
        prop_assert!((0..=16).contains(&status.grpc));
    }
}
