//! Answers of the specification that the public collection does not ask for: refusals, and what becomes of sessions.

use forge_tests::http::{self, Answer};
use serde_json::{Value, json};

use crate::stage::Stage;

struct Client<'s> {
    stage: &'s Stage<'s>,
    token: Option<String>,
}

impl Client<'_> {
    fn send(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let authorization = self.token.as_ref().map(|token| format!("Token {token}"));
        let mut headers = vec![("content-type", "application/json")];
        headers.extend(
            authorization
                .as_deref()
                .map(|value| ("authorization", value)),
        );
        let body = body.map(Value::to_string).unwrap_or_default();
        let address = self.stage.nodes[0].http();
        http::request(
            address,
            method,
            &format!("/api{path}"),
            &headers,
            body.as_bytes(),
        )
        .unwrap()
    }

    /// Status and body of an answer in JSON.
    fn json(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let answer = self.send(method, path, Some(body));
        (answer.status, answer.json().unwrap())
    }

    fn status(&self, method: &str, path: &str) -> u16 {
        self.send(method, path, None).status
    }
}

fn user(name: &str) -> Value {
    json!({"user": {"username": name, "email": format!("{name}@mail.com"), "password": "password"}})
}

fn sign_up<'s>(stage: &'s Stage<'s>, name: &str) -> Client<'s> {
    let anonymous = Client { stage, token: None };
    let (status, answer) = anonymous.json("POST", "/users", &user(name));
    assert_eq!(status, 201, "{answer}");
    let token = answer["user"]["token"].as_str().unwrap().to_owned();
    Client {
        stage,
        token: Some(token),
    }
}

/// Errors as RealWorld's clients show them.
fn errors(messages: &[&str]) -> Value {
    json!({"errors": {"body": messages}})
}

fn conduit() -> Stage<'static> {
    let mut stage = Stage::new();
    stage.load(super::INSTALL);
    stage.start_nodes(1, |node| node);
    stage
}

#[test]
fn refusals_are_those_of_the_specification() {
    let stage = conduit();
    let (alice, bob) = (sign_up(&stage, "alice"), sign_up(&stage, "bob"));
    let anonymous = Client {
        stage: &stage,
        token: None,
    };
    let article = json!({"article": {"title": "Hers", "description": "d", "body": "b"}});
    assert_eq!(alice.json("POST", "/articles", &article).0, 201);
    let comment = json!({"comment": {"body": "c"}});
    let (status, answer) = alice.json("POST", "/articles/hers/comments", &comment);
    assert_eq!(status, 200, "{answer}");
    let its_comment = format!("/articles/hers/comments/{}", answer["comment"]["id"]);

    for (method, path) in [
        ("GET", "/user"),
        ("GET", "/articles/feed"),
        ("DELETE", "/articles/hers"),
        ("POST", "/articles/hers/favorite"),
        ("POST", "/profiles/alice/follow"),
    ] {
        assert_eq!(anonymous.status(method, path), 401, "{method} {path}");
    }
    let liar = Client {
        stage: &stage,
        token: Some("forge_0000_0000".into()),
    };
    assert_eq!(liar.status("GET", "/user"), 401);

    assert_eq!(bob.status("DELETE", "/articles/hers"), 403);
    assert_eq!(bob.status("DELETE", &its_comment), 403);
    let change = json!({"article": {"body": "forged"}});
    assert_eq!(bob.json("PUT", "/articles/hers", &change).0, 403);

    for (method, path) in [
        ("GET", "/articles/nowhere"),
        ("DELETE", "/articles/nowhere"),
        ("POST", "/articles/nowhere/favorite"),
        ("GET", "/articles/nowhere/comments"),
        ("DELETE", "/articles/hers/comments/999999"),
        ("GET", "/profiles/nobody"),
        ("POST", "/profiles/nobody/follow"),
    ] {
        assert_eq!(bob.status(method, path), 404, "{method} {path}");
    }

    for (path, body, messages) in [
        (
            "/users",
            user("alice"),
            vec![
                "email has already been taken",
                "username has already been taken",
            ],
        ),
        (
            "/users",
            json!({"user": {}}),
            vec![
                "email can't be blank",
                "password can't be blank",
                "username can't be blank",
            ],
        ),
        (
            "/users/login",
            json!({"user": {"email": 5}}),
            vec!["email must be a string", "password can't be blank"],
        ),
        (
            "/articles",
            json!({}),
            vec![
                "body can't be blank",
                "description can't be blank",
                "title can't be blank",
            ],
        ),
        (
            "/articles/hers/comments",
            json!({"comment": {"body": " "}}),
            vec!["body can't be blank"],
        ),
    ] {
        assert_eq!(
            bob.json("POST", path, &body),
            (422, errors(&messages)),
            "{path} {body}"
        );
    }
    assert_eq!(bob.json("PUT", "/user", &user("alice")).0, 422);
    assert_eq!(bob.status("GET", "/articles?limit=0"), 422);
    assert_eq!(bob.status("GET", "/articles?limit=many"), 422);

    let answer = alice.send("DELETE", &its_comment, None);
    assert_eq!((answer.status, answer.text().as_str()), (204, ""));
    let answer = alice.send("DELETE", "/articles/hers", None);
    assert_eq!((answer.status, answer.text().as_str()), (204, ""));
}

#[test]
fn a_token_lives_until_the_password_changes() {
    let stage = conduit();
    let alice = sign_up(&stage, "alice");
    let answer = alice.send("GET", "/user", None);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = answer.json().unwrap();
    assert_eq!(answer["user"]["token"].as_str(), alice.token.as_deref());
    assert_eq!(answer["user"]["email"], "alice@mail.com");

    let wrong = json!({"user": {"email": "alice@mail.com", "password": "wrong"}});
    let unknown = json!({"user": {"email": "nobody@mail.com", "password": "password"}});
    for login in [wrong, unknown] {
        let refused = (401, errors(&["email or password is invalid"]));
        assert_eq!(alice.json("POST", "/users/login", &login), refused);
    }

    let change = json!({"user": {"password": "another one"}});
    let (status, answer) = alice.json("PUT", "/user", &change);
    assert_eq!(status, 200, "{answer}");
    let renewed = Client {
        stage: &stage,
        token: answer["user"]["token"].as_str().map(str::to_owned),
    };
    assert_ne!(renewed.token, alice.token);
    assert_eq!(renewed.status("GET", "/user"), 200);
    forge_tests::until(crate::session::SOON, "the old token to be refused", || {
        Ok(alice.status("GET", "/user") == 401)
    })
    .unwrap();
    assert_eq!(alice.json("POST", "/users/login", &user("alice")).0, 401);
}
