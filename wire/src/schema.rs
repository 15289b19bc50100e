//! JSON schemas of the words that are texts in JSON, for the API's document.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::ids::{CommandId, DecisionId, Digest, KeyId, PlanId};
use crate::reading::Quantity;
use crate::time::Wall;

macro_rules! texts {
    ($($name:ident $schema:tt;)*) => {$(
        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    )*};
}

texts! {
    Digest { "type": "string", "pattern": "^[0-9a-f]{64}$", "description": "a BLAKE3 hash" };
    CommandId { "type": "string", "pattern": "^[0-9a-f]{32}$", "description": "a command's id" };
    PlanId { "type": "string", "pattern": "^[0-9a-f]{32}$", "description": "a plan's id" };
    KeyId { "type": "string", "pattern": "^[0-9a-f]{16}$", "description": "names a signing key" };
    DecisionId { "type": "string", "pattern": "^(@hub|[a-z0-9-]{1,63})\\.[0-9]+\\.[0-9]+$", "description": "an entry: OWNER.EPOCH.SEQ" };
    Quantity { "type": "string", "description": "what is measured, as in the list of quantities" };
    Wall { "type": "string", "description": "RFC 3339 in UTC; unix-ms:N beyond its years" };
}
