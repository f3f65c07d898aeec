//! Between protobuf's well-known types, JSON and our own.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use prost_types::{Duration as ProtoDuration, Timestamp as ProtoTimestamp};
use serde_json::Value;
use tonic::Status;

/// A duration; a negative one is refused.
pub(super) fn duration(field: &str, value: ProtoDuration) -> Result<Duration, Status> {
    Duration::try_from(value)
        .map_err(|_| Status::invalid_argument(format!("{field} is not a duration of zero or more")))
}

/// A duration for the wire.
pub(super) fn to_duration(value: Duration) -> ProtoDuration {
    ProtoDuration::try_from(value).unwrap_or_default()
}

/// A point in time for the wire.
pub(super) fn to_timestamp(value: SystemTime) -> ProtoTimestamp {
    ProtoTimestamp::from(value)
}

/// RFC 3339 text of a point in time.
pub(super) fn rfc3339(field: &str, value: ProtoTimestamp) -> Result<String, Status> {
    Timestamp::new(value.seconds, value.nanos)
        .map(|timestamp| timestamp.to_string())
        .map_err(|_| Status::invalid_argument(format!("{field} is not a point in time")))
}

/// A point in time out of RFC 3339 text in JSON.
pub(super) fn timestamp(value: &Value) -> Option<ProtoTimestamp> {
    let timestamp: Timestamp = value.as_str()?.parse().ok()?;
    Some(ProtoTimestamp {
        seconds: timestamp.as_second(),
        nanos: timestamp.subsec_nanosecond(),
    })
}

/// A text field of a JSON object; empty when absent.
pub(super) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// A count out of JSON; zero when absent.
pub(super) fn count(value: &Value) -> u32 {
    value
        .as_u64()
        .and_then(|count| u32::try_from(count).ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn times_survive_the_way_through_json() {
        let proto = timestamp(&json!("2026-03-29T02:30:00.25+02:00")).unwrap();
        assert_eq!(rfc3339("x", proto).unwrap(), "2026-03-29T00:30:00.25Z");
        assert_eq!(timestamp(&Value::Null), None);
        assert!(
            rfc3339(
                "run_at",
                ProtoTimestamp {
                    seconds: i64::MAX,
                    nanos: 0
                }
            )
            .is_err()
        );
    }

    #[test]
    fn negative_durations_are_refused_by_name() {
        let status = duration(
            "delay",
            ProtoDuration {
                seconds: -1,
                nanos: 0,
            },
        )
        .unwrap_err();
        assert!(status.message().contains("delay"));
        let half = ProtoDuration {
            seconds: 0,
            nanos: 500_000_000,
        };
        assert_eq!(duration("delay", half).unwrap(), Duration::from_millis(500));
        assert_eq!(to_duration(Duration::from_millis(500)), half);
    }
}
