//! The table of registered routes: method and path to function and path fields.
//!
//! Invariants: a literal segment beats a field; where a path is known under other methods only, those are told.

use matchit::Router;

/// A registered route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// In capitals.
    pub method: String,
    /// As registered, such as `/api/articles/{slug}`.
    pub path: String,
    /// The function's name.
    pub function: String,
}

/// What a path leads to.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// A route, and its fields as they stand in the path, still percent-encoded.
    Route(&'a Route, Vec<(&'a str, String)>),
    /// The path exists, but not with this method; these are its methods.
    Methods(Vec<&'a str>),
    /// Nothing.
    Nothing,
}

struct Entry {
    route: Route,
    fields: Vec<String>,
}

/// All routes. One matcher per method: two methods may name the fields of one path differently.
#[derive(Default)]
pub struct Routes {
    methods: Vec<(String, Router<Entry>)>,
}

impl Routes {
    /// A table of `routes`. One that cannot be matched, or that is there already, is left out and logged: the database
    /// refuses those when they are registered.
    pub fn new(routes: impl IntoIterator<Item = Route>) -> Self {
        let mut table = Self::default();
        for route in routes {
            let (pattern, fields) = pattern(&route.path);
            let method = route.method.clone();
            let shown = route.path.clone();
            if let Err(error) = table.of(&method).insert(pattern, Entry { route, fields }) {
                tracing::warn!(method, path = shown, %error, "route left out");
            }
        }
        table
    }

    fn of(&mut self, method: &str) -> &mut Router<Entry> {
        let known = self.methods.iter().position(|(name, _)| name == method);
        let index = known.unwrap_or_else(|| {
            self.methods.push((method.to_owned(), Router::new()));
            self.methods.len() - 1
        });
        &mut self.methods[index].1
    }

    /// What `method` and `path` lead to. HEAD is GET without its body.
    pub fn find<'a>(&'a self, method: &str, path: &str) -> Found<'a> {
        let wanted = |name: &str| name == method || (method == "HEAD" && name == "GET");
        let mut exact = self.methods.iter().filter(|(name, _)| wanted(name));
        if let Some((entry, values)) = exact.find_map(|(_, router)| found(router, path)) {
            let fields = entry.fields.iter().map(String::as_str).zip(values);
            return Found::Route(&entry.route, fields.collect());
        }
        let mut known: Vec<&str> = self
            .methods
            .iter()
            .filter(|(_, router)| router.at(path).is_ok())
            .map(|(name, _)| name.as_str())
            .collect();
        if known.is_empty() {
            return Found::Nothing;
        }
        if known.contains(&"GET") {
            known.push("HEAD");
        }
        known.sort_unstable();
        Found::Methods(known)
    }
}

fn found<'a>(router: &'a Router<Entry>, path: &str) -> Option<(&'a Entry, Vec<String>)> {
    let matched = router.at(path).ok()?;
    let values = matched.params.iter().map(|(_, value)| value.to_owned());
    Some((matched.value, values.collect()))
}

/// The path with its fields numbered, and their names: to the matcher, two names for one place are a conflict.
fn pattern(path: &str) -> (String, Vec<String>) {
    let mut fields = Vec::new();
    let segments = path.split('/').map(|segment| {
        let name = segment
            .strip_prefix('{')
            .and_then(|rest| rest.strip_suffix('}'));
        match name {
            Some(name) => {
                let (star, name) = match name.strip_prefix('*') {
                    Some(rest) => ("*", rest),
                    None => ("", name),
                };
                fields.push(name.to_owned());
                format!("{{{star}p{}}}", fields.len())
            }
            None => segment.replace('{', "{{").replace('}', "}}"),
        }
    });
    let pattern = segments.collect::<Vec<_>>().join("/");
    (pattern, fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(routes: &[(&str, &str, &str)]) -> Routes {
        Routes::new(routes.iter().map(|(method, path, function)| Route {
            method: (*method).into(),
            path: (*path).into(),
            function: (*function).into(),
        }))
    }

    fn function(
        routes: &Routes,
        method: &str,
        path: &str,
    ) -> Option<(String, Vec<(String, String)>)> {
        match routes.find(method, path) {
            Found::Route(route, fields) => Some((
                route.function.clone(),
                fields.into_iter().map(|(n, v)| (n.to_owned(), v)).collect(),
            )),
            _ => None,
        }
    }

    #[test]
    fn finds_routes_and_fields() {
        let routes = table(&[
            ("GET", "/api/articles/{slug}", "show"),
            ("GET", "/api/articles/feed", "feed"),
            ("PUT", "/api/articles/{id}", "change"),
            ("GET", "/api/articles/{slug}/comments/{id}", "comment"),
            ("GET", "/api/{thing}/x", "x"),
            ("GET", "/files/{*path}", "file"),
        ]);
        let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            function(&routes, "GET", "/api/articles/feed"),
            Some(("feed".into(), vec![]))
        );
        assert_eq!(
            function(&routes, "HEAD", "/api/articles/a-b"),
            Some(("show".into(), vec![field("slug", "a-b")]))
        );
        assert_eq!(
            function(&routes, "PUT", "/api/articles/7"),
            Some(("change".into(), vec![field("id", "7")]))
        );
        assert_eq!(
            function(&routes, "GET", "/api/articles/s/comments/7"),
            Some(("comment".into(), vec![field("slug", "s"), field("id", "7")]))
        );
        assert_eq!(
            function(&routes, "GET", "/files/a/b"),
            Some(("file".into(), vec![field("path", "a/b")]))
        );
    }

    #[test]
    fn tells_other_methods_and_nothing_apart() {
        let routes = table(&[("GET", "/a/{x}", "a"), ("DELETE", "/a/{y}", "b")]);
        assert_eq!(
            routes.find("POST", "/a/1"),
            Found::Methods(vec!["DELETE", "GET", "HEAD"])
        );
        assert_eq!(routes.find("GET", "/a"), Found::Nothing);
        assert_eq!(routes.find("GET", "/a/"), Found::Nothing);
        assert_eq!(Routes::default().find("GET", "/"), Found::Nothing);
    }

    #[test]
    fn a_route_that_is_there_twice_stays_the_first() {
        let routes = table(&[("GET", "/a/{x}", "a"), ("GET", "/a/{y}", "b")]);
        assert_eq!(function(&routes, "GET", "/a/1").unwrap().0, "a");
    }
}
