//! Who the client is when proxies stand in front.
//!
//! Invariants: only addresses in the configured networks are believed, and of their header only the part written by
//! proxies: it is read from the right, up to the first address that is none of theirs; what clients write is ignored.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, HeaderName, header};

use crate::config::{ForwardedHeader, Http, Network};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The client's address, as an extension of every request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientIp(pub IpAddr);

/// Finds the client behind the proxies.
#[derive(Clone, Debug)]
pub(super) struct Proxies {
    trusted: Vec<Network>,
    header: ForwardedHeader,
}

impl Proxies {
    pub fn new(config: &Http) -> Self {
        Self {
            trusted: config.trusted_proxies.clone(),
            header: config.forwarded_header,
        }
    }

    /// Who sent a request with these headers that came from `peer`.
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> ClientIp {
        let mut client = peer.to_canonical();
        if !self.trusts(client) {
            return ClientIp(client);
        }
        let (name, read): (_, fn(&str) -> Option<IpAddr>) = match self.header {
            ForwardedHeader::XForwardedFor => (X_FORWARDED_FOR, address),
            ForwardedHeader::Forwarded => (header::FORWARDED, forwarded_for),
        };
        // Several headers of one name are one list, in the order received.
        for value in headers.get_all(name).iter().rev() {
            let Ok(list) = value.to_str() else {
                return ClientIp(client);
            };
            for hop in list.rsplit(',') {
                match read(hop.trim()) {
                    Some(before) => client = before,
                    None => return ClientIp(client),
                }
                if !self.trusts(client) {
                    return ClientIp(client);
                }
            }
        }
        ClientIp(client)
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(address))
    }
}

/// `192.0.2.7`, `192.0.2.7:4711`, `2001:db8::7` or `[2001:db8::7]:4711`.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    bare.unwrap_or(text)
        .parse()
        .or_else(|_| text.parse::<SocketAddr>().map(|socket| socket.ip()))
        .ok()
        .map(|address: IpAddr| address.to_canonical())
}

/// The `for` of one element of `Forwarded`; obfuscated names and `unknown` are no addresses.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let value = element.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("for")
            .then_some(value.trim())
    })?;
    address(value.trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(header: ForwardedHeader, peer: &str, lines: &[&str]) -> String {
        let config = Http {
            trusted_proxies: vec!["10.0.0.0/8".parse().unwrap(), "::1".parse().unwrap()],
            forwarded_header: header,
            ..Http::default()
        };
        let name = match header {
            ForwardedHeader::XForwardedFor => "x-forwarded-for",
            ForwardedHeader::Forwarded => "forwarded",
        };
        let headers = lines
            .iter()
            .map(|line| (name.parse().unwrap(), line.parse().unwrap()))
            .collect();
        let ClientIp(found) = Proxies::new(&config).client(peer.parse().unwrap(), &headers);
        found.to_string()
    }

    #[test]
    fn x_forwarded_for_is_read_from_the_right() {
        let ip = |peer, lines: &[&str]| client(ForwardedHeader::XForwardedFor, peer, lines);
        assert_eq!(ip("10.0.0.1", &["192.0.2.7"]), "192.0.2.7");
        assert_eq!(
            ip("10.0.0.1", &["1.1.1.1, 192.0.2.7, 10.9.9.9"]),
            "192.0.2.7"
        );
        assert_eq!(ip("10.0.0.1", &["1.1.1.1", "192.0.2.7"]), "192.0.2.7");
        assert_eq!(ip("::1", &["[2001:db8::7]:99"]), "2001:db8::7");
        assert_eq!(ip("::ffff:10.0.0.1", &["::ffff:192.0.2.7"]), "192.0.2.7");
        assert_eq!(ip("10.0.0.1", &["10.0.0.2"]), "10.0.0.2");
        assert_eq!(ip("10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn what_others_write_is_ignored() {
        let ip = |peer, lines: &[&str]| client(ForwardedHeader::XForwardedFor, peer, lines);
        assert_eq!(ip("192.0.2.9", &["10.0.0.1"]), "192.0.2.9");
        assert_eq!(ip("10.0.0.1", &["1.1.1.1, nonsense, 10.0.0.3"]), "10.0.0.3");
        assert_eq!(ip("10.0.0.1", &["1.1.1.1, "]), "10.0.0.1");
    }

    #[test]
    fn forwarded_names_its_client() {
        let ip = |lines: &[&str]| client(ForwardedHeader::Forwarded, "10.0.0.1", lines);
        assert_eq!(ip(&["for=192.0.2.7;proto=https"]), "192.0.2.7");
        assert_eq!(
            ip(&["for=1.1.1.1, proto=http;For=\"[2001:db8::7]:4711\""]),
            "2001:db8::7"
        );
        assert_eq!(ip(&["for=192.0.2.7, for=_hidden"]), "10.0.0.1");
        assert_eq!(ip(&["by=10.0.0.1"]), "10.0.0.1");
    }
}
