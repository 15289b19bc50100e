//! `/api/openapi.json`: the API as OpenAPI 3.1, made from the same table of routes that the router is made from.
//!
//! So a route that is not described cannot exist, and one that is described cannot be missing; what each says in words stands in
//! `openapi/words.rs`. The copy in `hub/handbook/openapi.json` is compared in a test: a change of the API is seen where it is reviewed.
//!
//! Read next: `routes.rs` (the table), `problems.rs` (the codes), `openapi/words.rs`.

mod bodies;
mod facade;
mod words;

use std::collections::BTreeMap;

use axum::http::HeaderMap;
use axum::response::Response;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::answer::tagged;
use super::handbook::written;
use super::routes::{Need, ROUTES, Route};
use bodies::{BODIES, Bodies};
use wire_http::{BELOW, KINDS};
use words::{Body, WORDS, Words};

/// `GET /api/openapi.json`.
pub async fn document(headers: HeaderMap) -> Response {
    tagged(&headers, "application/json", text().into())
}

/// `GET /docs`: the same for people, without a script.
pub async fn reader(headers: HeaderMap) -> Response {
    tagged(&headers, "text/html; charset=utf-8", written(&page()).into())
}

/// The document as text, with a line's end at its end.
pub fn text() -> String {
    let mut text =
        serde_json::to_string_pretty(&whole()).expect("a value has string keys only, so it always has a JSON form");
    text.push('\n');
    text
}

fn whole() -> Value {
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    let mut schemas = Schemas::new();
    for (route, words) in described() {
        let operation = operation(route, words, &mut schemas);
        let path = paths.entry(path(route)).or_default();
        path.insert(route.method.to_lowercase(), operation);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Sentinel",
            "version": "1",
            "summary": "The hub's API",
            "description": "JSON in snake_case, times in RFC 3339 and UTC. An error is a problem document (RFC 9457) whose `type` is a page of this hub.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "security": [{ "bearer": [] }, { "session": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "bearer": { "type": "http", "scheme": "bearer" },
                "session": { "type": "apiKey", "in": "cookie", "name": super::door::COOKIE_NAME },
            },
            "schemas": schemas.components(),
        },
    })
}

/// Each route with its words; a test proves that each has some.
fn described() -> impl Iterator<Item = (&'static Route, &'static Words)> {
    ROUTES.iter().filter_map(|route| Some((route, words_of(route)?)))
}

fn words_of(route: &Route) -> Option<&'static Words> {
    let is_it = |words: &&Words| words.method == route.method && words.path == route.path;
    WORDS.iter().find(is_it)
}

/// OpenAPI has no word for the rest of a path.
fn path(route: &Route) -> &'static str {
    match route.path {
        "/handbook/{*page}" => "/handbook/{page}",
        "/webhooks/{*path}" => "/webhooks/{path}",
        other => other,
    }
}

fn operation(route: &Route, words: &Words, schemas: &mut Schemas) -> Value {
    let mut operation = json!({
        "operationId": operation_id(route),
        "summary": words.summary,
        "tags": [tag(route)],
        "parameters": parameters(route, words),
        "responses": responses(route, words, schemas),
        "x-sentinel-permission": route.need.name(),
    });
    if route.need == Need::Nothing || route.need == Need::Own {
        operation["security"] = json!([]);
    }
    let schema = match words.body {
        Body::None => return operation,
        Body::Json => json!({ "application/json": { "schema": schemas.taken(route) } }),
        Body::Text => json!({ "text/plain": { "schema": { "type": "string" } } }),
        Body::Protobuf => json!({ "application/x-protobuf": { "schema": { "type": "string", "format": "binary" } } }),
        Body::Bytes => json!({ "application/octet-stream": { "schema": { "type": "string", "format": "binary" } } }),
    };
    operation["requestBody"] = json!({ "required": true, "content": schema });
    operation
}

/// `post_api_v1_users_name_invite`: stable as long as the route is.
fn operation_id(route: &Route) -> String {
    let words = route.path.split(|c: char| !c.is_ascii_alphanumeric());
    let words = words.filter(|word| !word.is_empty());
    let method = route.method.to_lowercase();
    [method.as_str()].into_iter().chain(words).collect::<Vec<_>>().join("_")
}

/// The first word below `/api/v1`.
fn tag(route: &Route) -> &'static str {
    let below = route.path.strip_prefix("/api/v1/").unwrap_or(&route.path[1..]);
    below.split('/').next().unwrap_or(below)
}

fn parameters(route: &Route, words: &Words) -> Vec<Value> {
    let in_path = path(route)
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let in_path =
        in_path.map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }));
    let in_query = words
        .query
        .iter()
        .map(|name| json!({ "name": name, "in": "query", "required": false, "schema": { "type": query_type(name) } }));
    let once = route.is_once().then(|| {
        json!({
            "name": "Idempotency-Key", "in": "header", "required": false, "schema": { "type": "string", "maxLength": 128 },
            "description": "The request is carried out at most once for each key.",
        })
    });
    in_path.chain(in_query).chain(once).collect()
}

fn query_type(name: &str) -> &'static str {
    match name {
        "limit" | "since_ms" => "integer",
        "watch" => "boolean",
        _ => "string",
    }
}

fn responses(route: &Route, words: &Words, schemas: &mut Schemas) -> Value {
    let done = match words.answers {
        "" => json!({ "description": "done" }),
        "application/json" => {
            json!({ "description": "done", "content": { "application/json": { "schema": schemas.given(route) } } })
        }
        kind => json!({ "description": "done", "content": { kind: { "schema": {} } } }),
    };
    let mut responses = Map::new();
    if let Some((status, meaning)) = words.also {
        let mut also = json!({ "description": meaning });
        if status != 204 {
            also["content"] = done["content"].clone();
        }
        responses.insert(status.to_string(), also);
    }
    responses.insert(words.status.to_string(), done);
    for status in statuses(route, words) {
        let codes = KINDS.iter().filter(|kind| kind.statuses.contains(&status));
        let codes: Vec<&str> = codes.map(|kind| kind.code).collect();
        let content = json!({ "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } });
        let problem = json!({ "description": codes.join(", "), "content": content });
        responses.insert(status.to_string(), problem);
    }
    Value::Object(responses)
}

/// Every problem that a route may answer with.
fn statuses(route: &Route, words: &Words) -> Vec<u16> {
    let mut statuses = vec![500, 503, 504];
    if matches!(route.need, Need::Known | Need::Permission(_) | Need::Own) {
        statuses.extend([401, 403, 429]);
    }
    if route.path.contains('{') {
        statuses.push(404);
    }
    if !words.query.is_empty() || words.body != Body::None || route.path.contains('{') {
        statuses.push(400);
    }
    if route.method != "GET" {
        statuses.extend([409, 413, 422]);
    }
    if matches!(route.method, "PATCH" | "DELETE") {
        statuses.push(412);
    }
    // A key that is none.
    if route.is_once() {
        statuses.push(400);
    }
    statuses.extend(words.refuses);
    statuses.sort_unstable();
    statuses.dedup();
    statuses
}

fn problem_schema() -> Value {
    let codes: Vec<&str> = KINDS.iter().map(|kind| kind.code).collect();
    json!({
        "type": "object",
        "required": ["type", "title", "status", "detail", "code"],
        "properties": {
            "type": { "type": "string", "format": "uri-reference", "description": format!("a page below {BELOW}") },
            "title": { "type": "string" },
            "status": { "type": "integer" },
            "detail": { "type": "string" },
            "code": { "type": "string", "enum": codes },
            "errors": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["pointer", "detail"],
                    "properties": { "pointer": { "type": "string" }, "detail": { "type": "string" } },
                },
            },
            "decision_id": { "type": "string" },
            "permission": { "type": "string" },
            "retry_after": { "type": "integer" },
        },
    })
}

/// Makes the schemas of bodies from their types. What is read and what is written may look different in one type, so only what is
/// written has definitions that others refer to.
struct Schemas {
    taken: SchemaGenerator,
    given: SchemaGenerator,
}

impl Schemas {
    fn new() -> Self {
        let inline = |settings: &mut SchemaSettings| settings.inline_subschemas = true;
        let named = |settings: &mut SchemaSettings| settings.definitions_path = "/components/schemas".into();
        let draft = SchemaSettings::draft2020_12;
        Self {
            taken: draft().with(inline).into_generator(),
            given: draft().for_serialize().with(named).into_generator(),
        }
    }

    /// What a route reads.
    fn taken(&mut self, route: &Route) -> Value {
        let make = bodies_of(route).and_then(|bodies| bodies.takes);
        make.map_or(json!({ "type": "object" }), |make| make(&mut self.taken).to_value())
    }

    /// What a route answers with.
    fn given(&mut self, route: &Route) -> Value {
        let make = bodies_of(route).and_then(|bodies| bodies.gives);
        make.map_or(json!({}), |make| make(&mut self.given).to_value())
    }

    fn components(mut self) -> Map<String, Value> {
        let mut components = self.given.take_definitions(true);
        components.insert("Problem".to_owned(), problem_schema());
        components
    }
}

fn bodies_of(route: &Route) -> Option<&'static Bodies> {
    let is_it = |bodies: &&Bodies| bodies.method == route.method && bodies.path == route.path;
    BODIES.iter().find(is_it)
}

fn page() -> String {
    use std::fmt::Write as _;
    let mut out = String::from(
        "# The API\n\nThe document for programs is [/api/openapi.json](/api/openapi.json) (OpenAPI 3.1). \
         What errors mean is told where their `type` leads.\n",
    );
    let mut last = "";
    for (route, words) in described() {
        if tag(route) != last {
            last = tag(route);
            let _ = write!(out, "\n## {last}\n\n");
        }
        let query = match words.query {
            [] => String::new(),
            names => format!("?{}", names.join("&")),
        };
        let permission = route.need.name();
        let _ = writeln!(
            out,
            "- `{} {}{query}` {} ({permission})",
            route.method, route.path, words.summary
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn every_route_has_words_and_no_words_are_without_a_route() {
        for route in ROUTES {
            assert!(words_of(route).is_some(), "{route:?} has no row in openapi/words.rs");
        }
        for words in WORDS {
            let is_route = |route: &&Route| route.method == words.method && route.path == words.path;
            assert!(
                ROUTES.iter().any(|route| is_route(&route)),
                "{} {}",
                words.method,
                words.path
            );
        }
    }

    #[test]
    fn every_json_body_has_a_type_and_no_type_is_without_a_body() {
        for (route, words) in described() {
            let bodies = bodies_of(route);
            let takes = bodies.is_some_and(|bodies| bodies.takes.is_some());
            let gives = bodies.is_some_and(|bodies| bodies.gives.is_some());
            assert_eq!(takes, words.body == Body::Json, "{route:?} takes");
            assert_eq!(gives, words.answers == "application/json", "{route:?} gives");
        }
        for bodies in BODIES {
            let is_route = |route: &&Route| route.method == bodies.method && route.path == bodies.path;
            assert!(
                ROUTES.iter().any(|route| is_route(&route)),
                "{} {}",
                bodies.method,
                bodies.path
            );
        }
    }

    #[test]
    fn every_reference_leads_to_a_schema() {
        fn references(value: &Value, found: &mut Vec<String>) {
            match value {
                Value::Object(fields) => fields.iter().for_each(|(name, value)| match value {
                    Value::String(to) if name == "$ref" => found.push(to.clone()),
                    value => references(value, found),
                }),
                Value::Array(items) => items.iter().for_each(|item| references(item, found)),
                _ => {}
            }
        }
        let document = whole();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 100, "schemas come from types");
        for reference in found {
            let pointer = reference.strip_prefix('#').expect("within the document");
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
    }

    #[test]
    fn names_of_operations_are_unique() {
        let mut ids: Vec<String> = ROUTES.iter().map(operation_id).collect();
        ids.sort();
        let count = ids.len();
        ids.dedup();
        assert_eq!(ids.len(), count);
    }

    #[test]
    fn the_committed_copy_is_what_the_hub_serves() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("handbook/openapi.json");
        if std::env::var_os("SENTINEL_WRITE_REFERENCE").is_some() {
            std::fs::write(&path, text()).expect("the copy is written");
        }
        let found = std::fs::read_to_string(&path).expect("the copy is there");
        assert!(
            found == text(),
            "hub/handbook/openapi.json is old: run this test with SENTINEL_WRITE_REFERENCE=1 and look at what changed"
        );
    }
}
