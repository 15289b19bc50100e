//! How a request is read: within its bound, whole, and with an error that points at the field.

use axum::body::Bytes;
use axum::extract::Query;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::http::StatusCode;
use serde::de::DeserializeOwned;

use crate::Failure;

/// A request's body, if it kept to the route's bound, `most` bytes.
pub fn body(body: Result<Bytes, BytesRejection>, most: usize) -> Result<Bytes, Failure> {
    body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Failure::too_large(format!("the body has at most {} here", size(most))),
        _ => Failure::field("", "the body could not be read to its end"),
    })
}

fn size(bytes: usize) -> String {
    const KIB: usize = 1_024;
    const MIB: usize = KIB * KIB;
    match bytes {
        _ if bytes >= MIB && bytes.is_multiple_of(MIB) => format!("{} MiB", bytes / MIB),
        _ if bytes >= KIB && bytes.is_multiple_of(KIB) => format!("{} KiB", bytes / KIB),
        _ => format!("{bytes} bytes"),
    }
}

/// A request's JSON within the route's bound, `most` bytes; the error points at the field.
pub fn read_json<T: DeserializeOwned>(bytes: Result<Bytes, BytesRejection>, most: usize) -> Result<T, Failure> {
    let bytes = body(bytes, most)?;
    let mut reader = serde_json::Deserializer::from_slice(&bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = match error.path().to_string().as_str() {
            "." => String::new(),
            path => pointer(path),
        };
        Failure::field(&path, error.inner().to_string())
    })?;
    reader.end().map_err(|error| Failure::field("", error.to_string()))?;
    Ok(value)
}

/// A request's query; unknown names are refused where the type refuses them.
pub fn query<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, Failure> {
    query
        .map(|query| query.0)
        .map_err(|rejection| Failure::field("", rejection.body_text()))
}

/// How many rows a page has, within `1..=most`.
pub fn limit(asked: Option<usize>, usual: usize, most: usize) -> Result<usize, Failure> {
    match asked.unwrap_or(usual) {
        limit if (1..=most).contains(&limit) => Ok(limit),
        limit => Err(Failure::field(
            "/limit",
            format!("limit is {limit}, it must be 1 to {most}"),
        )),
    }
}

/// A place such as `rules[2].for` as a JSON pointer, `/rules/2/for`.
pub fn pointer(field: &str) -> String {
    let mut out = String::new();
    for part in field.split(['.', '[']).filter(|part| !part.is_empty()) {
        out.push('/');
        out.push_str(&part.trim_end_matches(']').replace('~', "~0").replace('/', "~1"));
    }
    out
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Order {
        #[serde(rename = "steps")]
        _steps: Vec<u32>,
    }

    #[test]
    fn fields_become_pointers() {
        for (field, expected) in [
            ("rules[2].for", "/rules/2/for"),
            ("", ""),
            ("name", "/name"),
            ("a.b/c", "/a/b~1c"),
        ] {
            assert_eq!(pointer(field), expected);
        }
    }

    #[test]
    fn what_is_wrong_is_pointed_at() {
        for (text, at) in [
            (r#"{"steps":[1,"two"]}"#, "/steps/1"),
            (r#"{"steps":[],"other":1}"#, "/other"),
            (r#"{"steps":[]} more"#, ""),
            ("", ""),
        ] {
            let refused = read_json::<Order>(Ok(Bytes::from(text)), 64).expect_err("not an order");
            assert_eq!(refused.problem().status, 400, "{text}");
            assert_eq!(refused.problem().errors[0].pointer, at, "{text}");
        }
        read_json::<Order>(Ok(Bytes::from_static(br#"{"steps":[1]}"#)), 64).expect("an order");
    }

    #[test]
    fn a_bound_is_told_as_people_say_it() {
        for (bytes, said) in [(1 << 20, "1 MiB"), (4_096, "4 KiB"), (1_500, "1500 bytes")] {
            assert_eq!(size(bytes), said);
        }
    }

    #[test]
    fn a_page_has_one_row_at_least() {
        assert_eq!(limit(None, 50, 500).expect("usual"), 50);
        assert_eq!(limit(Some(500), 50, 500).expect("the most"), 500);
        for wrong in [0, 501] {
            let refused = limit(Some(wrong), 50, 500).expect_err("out of bounds");
            assert!(refused.detail().contains("1 to 500"), "{}", refused.detail());
        }
    }
}
