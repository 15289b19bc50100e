//! Reports that tools write for machines: read before any log, because they name tool, rule, file and line themselves.
//!
//! Order of trust: SARIF, JUnit, Checkstyle, annotations, Code Quality, ESLint's JSON. What a file is, is seen from its content.

pub mod annotations;
pub mod json;
pub mod xml;

use crate::verdict::Finding;

/// The largest report read, in bytes; a larger one is treated as a log.
pub const REPORT_BYTES: usize = 64 << 20;

/// The findings of a report, or `None` when the file is no report that is known here. An empty list is a report of nothing.
pub fn read(bytes: &[u8]) -> Option<Vec<Finding>> {
    if bytes.len() > REPORT_BYTES {
        return None;
    }
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii_start();
    match text.first()? {
        b'{' | b'[' => json::read(text),
        b'<' => xml::read(text),
        _ => None,
    }
}

/// The line of `bytes` on which `offset` lies, from 1.
pub(crate) fn line_of(bytes: &[u8], offset: usize) -> u32 {
    let before = &bytes[..offset.min(bytes.len())];
    u32::try_from(memchr::memchr_iter(b'\n', before).count() + 1).unwrap_or(u32::MAX)
}
