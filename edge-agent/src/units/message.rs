//! D-Bus messages as bytes, as far as systemd's manager needs them. Pure: no socket, no clock.
//!
//! Written by hand because the agent calls five methods: a complete implementation would be a tenth of its file.
//!
//! Invariants: bytes of others are bounded in length and depth before they are believed; whatever they are, reading them ends with a value
//! or an error.
//! Source: the D-Bus specification 0.43, "Message Protocol"; little-endian, as both ends of a local socket are here.

/// Longest message that is taken: systemd's answers have some hundred bytes.
pub const MAX_BYTES: usize = 1 << 20;
/// Containers within containers; the specification allows 64.
const MAX_DEPTH: usize = 16;
/// Bytes before the header's fields end: kind, lengths, serial.
pub const FIXED_BYTES: usize = 16;

/// Why bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// They end too early.
    #[error("the message is cut short")]
    Short,
    /// A length is beyond its bound.
    #[error("the message is longer than {MAX_BYTES} bytes")]
    Long,
    /// They do not follow the specification.
    #[error("the message is malformed: {0}")]
    Malformed(&'static str),
}

/// One value. Numbers that nobody here looks at are kept as the bits that they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// `y`, `n`, `q`, `i`, `u`, `x`, `t`, `d`, `h`: as 64 bits, with its type.
    Number(u8, u64),
    /// `b`.
    Flag(bool),
    /// `s`, `o`, `g`, with its type.
    Text(u8, String),
    /// `a…`, with the type of its items.
    Array(String, Vec<Value>),
    /// `(…)`, and `{…}` inside arrays.
    Group(Vec<Value>),
    /// `v`.
    Variant(Box<Value>),
}

impl Value {
    /// A `u`.
    #[cfg(test)]
    pub const fn u32(value: u32) -> Self {
        Self::Number(b'u', value as u64)
    }

    /// A `t`.
    pub const fn u64(value: u64) -> Self {
        Self::Number(b't', value)
    }

    /// An `s`.
    pub fn text(value: &str) -> Self {
        Self::Text(b's', value.to_owned())
    }

    /// A number, if it is one.
    pub fn number(&self) -> Option<u64> {
        match self {
            Self::Number(_, value) => Some(*value),
            Self::Variant(inner) => inner.number(),
            _ => None,
        }
    }

    /// A text, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(_, value) => Some(value),
            Self::Variant(inner) => inner.as_text(),
            _ => None,
        }
    }

    /// Bytes (`ay`), if it is that.
    pub fn bytes(&self) -> Option<Vec<u8>> {
        match self {
            Self::Array(_, items) => {
                let byte = |item: &Self| item.number().and_then(|byte| u8::try_from(byte).ok());
                items.iter().map(byte).collect()
            }
            Self::Variant(inner) => inner.bytes(),
            _ => None,
        }
    }

    fn signature(&self) -> String {
        match self {
            Self::Number(kind, _) | Self::Text(kind, _) => char::from(*kind).to_string(),
            Self::Flag(_) => "b".to_owned(),
            Self::Array(items, _) => format!("a{items}"),
            Self::Group(members) => format!("({})", members.iter().map(Self::signature).collect::<String>()),
            Self::Variant(_) => "v".to_owned(),
        }
    }
}

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A call.
    Call,
    /// The answer to one.
    Return,
    /// Its refusal.
    Error,
    /// Something that happened.
    Signal,
    /// Anything that the specification may add.
    Other,
}

/// A message as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// What it is.
    pub kind: Kind,
    /// Its number at its sender.
    pub serial: u32,
    /// The call that it answers.
    pub reply_to: Option<u32>,
    /// Of an error its name, of anything else the member.
    pub name: String,
    /// What it carries.
    pub body: Vec<Value>,
}

/// Whom a call goes to.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// Name on the bus.
    pub destination: &'a str,
    /// Which object.
    pub path: &'a str,
    /// Which interface.
    pub interface: &'a str,
    /// Which method.
    pub member: &'a str,
}

/// A call, ready to be sent.
pub fn call(serial: u32, target: &Target<'_>, body: &[Value]) -> Vec<u8> {
    let fields = [
        (1, b'o', target.path),
        (2, b's', target.interface),
        (3, b's', target.member),
        (6, b's', target.destination),
    ];
    let mut header: Vec<Value> = fields
        .map(|(code, kind, text)| field(code, Value::Text(kind, text.to_owned())))
        .into();
    if !body.is_empty() {
        let signature: String = body.iter().map(Value::signature).collect();
        header.push(field(8, Value::Text(b'g', signature)));
    }
    let mut written = Writer(Vec::new());
    body.iter().for_each(|value| written.value(value));
    let mut out = Writer(vec![b'l', 1, 0, 1]);
    out.number(4, written.0.len() as u64);
    out.number(4, u64::from(serial));
    out.value(&Value::Array("(yv)".to_owned(), header));
    out.align(8);
    out.0.extend_from_slice(&written.0);
    out.0
}

fn field(code: u8, value: Value) -> Value {
    Value::Group(vec![Value::Number(b'y', code.into()), Value::Variant(Box::new(value))])
}

/// Size and alignment of a number's type.
const fn width(kind: u8) -> Option<usize> {
    Some(match kind {
        b'y' => 1,
        b'n' | b'q' => 2,
        b'i' | b'u' | b'h' => 4,
        b'x' | b't' | b'd' => 8,
        _ => return None,
    })
}

fn alignment(signature: &str) -> usize {
    match signature.as_bytes().first() {
        Some(b'y' | b'g' | b'v') => 1,
        Some(b'n' | b'q') => 2,
        Some(b'x' | b't' | b'd' | b'(' | b'{') => 8,
        _ => 4,
    }
}

struct Writer(Vec<u8>);

impl Writer {
    fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    fn number(&mut self, width: usize, value: u64) {
        self.align(width);
        self.0.extend_from_slice(&value.to_le_bytes()[..width]);
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Number(kind, value) => self.number(width(*kind).unwrap_or(8), *value),
            Value::Flag(value) => self.number(4, u64::from(*value)),
            Value::Text(kind, text) => {
                self.number(if *kind == b'g' { 1 } else { 4 }, text.len() as u64);
                self.0.extend_from_slice(text.as_bytes());
                self.0.push(0);
            }
            Value::Array(items, values) => {
                self.number(4, 0);
                let length_at = self.0.len() - 4;
                // The padding before the first item does not count.
                self.align(alignment(items));
                let begin = self.0.len();
                values.iter().for_each(|value| self.value(value));
                let length = (self.0.len() - begin) as u32;
                self.0[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
            }
            Value::Group(members) => {
                self.align(8);
                members.iter().for_each(|member| self.value(member));
            }
            Value::Variant(inner) => {
                self.value(&Value::Text(b'g', inner.signature()));
                self.value(inner);
            }
        }
    }
}

/// How long the message is that begins with these [`FIXED_BYTES`].
pub fn length(fixed: [u8; FIXED_BYTES]) -> Result<usize, MessageError> {
    if fixed[0] != b'l' {
        return Err(MessageError::Malformed("it is not little-endian"));
    }
    if fixed[3] != 1 {
        return Err(MessageError::Malformed("it is of another version"));
    }
    let number = |at: usize| u32::from_le_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]) as usize;
    let (body, fields) = (number(4), number(12));
    if body > MAX_BYTES || fields > MAX_BYTES {
        return Err(MessageError::Long);
    }
    match (FIXED_BYTES + fields).next_multiple_of(8) + body {
        length if length > MAX_BYTES => Err(MessageError::Long),
        length => Ok(length),
    }
}

/// Reads a whole message.
pub fn read(bytes: &[u8]) -> Result<Message, MessageError> {
    let fixed = bytes.first_chunk::<FIXED_BYTES>().ok_or(MessageError::Short)?;
    if bytes.len() != length(*fixed)? {
        return Err(MessageError::Short);
    }
    let kind = match fixed[1] {
        1 => Kind::Call,
        2 => Kind::Return,
        3 => Kind::Error,
        4 => Kind::Signal,
        _ => Kind::Other,
    };
    let mut reader = Reader { bytes, at: 8 };
    let serial = reader.number(4)? as u32;
    let Value::Array(_, fields) = reader.value("a(yv)", 0)?.0 else {
        return Err(MessageError::Malformed("its header is no list"));
    };
    reader.align(8)?;
    let mut message = Message {
        kind,
        serial,
        reply_to: None,
        name: String::new(),
        body: Vec::new(),
    };
    let mut signature = String::new();
    for field in &fields {
        let Value::Group(members) = field else { continue };
        let [code, value] = members.as_slice() else { continue };
        match (code.number(), value.as_text()) {
            (Some(3 | 4), Some(name)) => message.name = name.to_owned(),
            (Some(5), None) => message.reply_to = value.number().and_then(|number| u32::try_from(number).ok()),
            (Some(8), Some(text)) => signature = text.to_owned(),
            _ => {}
        }
    }
    let mut rest = signature.as_str();
    while !rest.is_empty() {
        let (value, after) = reader.value(rest, 0)?;
        message.body.push(value);
        rest = after;
    }
    Ok(message)
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], MessageError> {
        let end = self.at.checked_add(count).ok_or(MessageError::Long)?;
        let found = self.bytes.get(self.at..end).ok_or(MessageError::Short)?;
        self.at = end;
        Ok(found)
    }

    fn align(&mut self, to: usize) -> Result<(), MessageError> {
        self.take(self.at.next_multiple_of(to) - self.at).map(drop)
    }

    fn number(&mut self, width: usize) -> Result<u64, MessageError> {
        self.align(width)?;
        let mut all = [0; 8];
        all[..width].copy_from_slice(self.take(width)?);
        Ok(u64::from_le_bytes(all))
    }

    fn text(&mut self, width: usize) -> Result<String, MessageError> {
        let length = self.number(width)? as usize;
        let bytes = self.take(length)?;
        if self.take(1)? != [0] {
            return Err(MessageError::Malformed("a text does not end where it should"));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| MessageError::Malformed("a text is not UTF-8"))?;
        Ok(text.to_owned())
    }

    /// Reads the first type of a signature; returns its value and the rest of the signature.
    fn value<'s>(&mut self, signature: &'s str, depth: usize) -> Result<(Value, &'s str), MessageError> {
        if depth > MAX_DEPTH {
            return Err(MessageError::Malformed("it is nested too deeply"));
        }
        let (first, after) = signature.split_at(first_type(signature, depth)?);
        let kind = first.as_bytes()[0];
        let value = match kind {
            b'b' => Value::Flag(self.number(4)? != 0),
            b's' | b'o' => Value::Text(kind, self.text(4)?),
            b'g' => Value::Text(kind, self.text(1)?),
            b'v' => {
                let inner = self.text(1)?;
                let (value, rest) = self.value(&inner, depth + 1)?;
                if !rest.is_empty() {
                    return Err(MessageError::Malformed("a variant has more than one type"));
                }
                Value::Variant(Box::new(value))
            }
            b'a' => {
                let items = &first[1..];
                let length = self.number(4)? as usize;
                self.align(alignment(items))?;
                let end = self.at.checked_add(length).ok_or(MessageError::Long)?;
                let mut values = Vec::new();
                while self.at < end {
                    values.push(self.value(items, depth + 1)?.0);
                }
                if self.at != end {
                    return Err(MessageError::Malformed("a list does not end where it should"));
                }
                Value::Array(items.to_owned(), values)
            }
            b'(' | b'{' => {
                self.align(8)?;
                let (mut rest, mut members) = (&first[1..first.len() - 1], Vec::new());
                while !rest.is_empty() {
                    let (value, after) = self.value(rest, depth + 1)?;
                    members.push(value);
                    rest = after;
                }
                Value::Group(members)
            }
            _ => match width(kind) {
                Some(width) => Value::Number(kind, self.number(width)?),
                None => return Err(MessageError::Malformed("a type is unknown")),
            },
        };
        Ok((value, after))
    }
}

/// How many bytes of a signature its first complete type has.
fn first_type(signature: &str, depth: usize) -> Result<usize, MessageError> {
    const UNFINISHED: MessageError = MessageError::Malformed("a signature is unfinished");
    if depth > MAX_DEPTH {
        return Err(MessageError::Malformed("it is nested too deeply"));
    }
    match signature.as_bytes().first().ok_or(UNFINISHED)? {
        b'a' => Ok(1 + first_type(&signature[1..], depth + 1)?),
        open @ (b'(' | b'{') => {
            let close = if *open == b'(' { b')' } else { b'}' };
            let mut at = 1;
            while *signature.as_bytes().get(at).ok_or(UNFINISHED)? != close {
                at += first_type(signature.get(at..).ok_or(UNFINISHED)?, depth + 1)?;
            }
            match at {
                1 => Err(MessageError::Malformed("a group is empty")),
                at => Ok(at + 1),
            }
        }
        first if first.is_ascii() => Ok(1),
        _ => Err(MessageError::Malformed("a type is unknown")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As a message that comes back.
    fn sent(body: &[Value]) -> Message {
        let target = Target {
            destination: "a.b",
            path: "/a",
            interface: "a.b.C",
            member: "Do",
        };
        read(&call(7, &target, body)).expect("our own")
    }

    #[test]
    fn a_call_is_written_as_another_implementation_writes_it() {
        // `busctl --user call org.freedesktop.DBus /org/freedesktop/DBus org.freedesktop.DBus RequestName su a.b 4`, its second call,
        // without the flags that it sets.
        let target = Target {
            destination: "org.freedesktop.DBus",
            path: "/org/freedesktop/DBus",
            interface: "org.freedesktop.DBus",
            member: "RequestName",
        };
        let bytes = call(2, &target, &[Value::text("a.b"), Value::u32(4)]);
        let mut expected = vec![b'l', 1, 0, 1, 12, 0, 0, 0, 2, 0, 0, 0, 0x8d, 0, 0, 0];
        let text = |out: &mut Vec<u8>, code: u8, kind: u8, text: &str| {
            out.resize(out.len().next_multiple_of(8), 0);
            out.extend_from_slice(&[code, 1, kind, 0]);
            out.extend_from_slice(&(text.len() as u32).to_le_bytes());
            out.extend_from_slice(text.as_bytes());
            out.push(0);
        };
        text(&mut expected, 1, b'o', "/org/freedesktop/DBus");
        text(&mut expected, 2, b's', "org.freedesktop.DBus");
        text(&mut expected, 3, b's', "RequestName");
        text(&mut expected, 6, b's', "org.freedesktop.DBus");
        expected.resize(expected.len().next_multiple_of(8), 0);
        expected.extend_from_slice(&[8, 1, b'g', 0, 2, b's', b'u', 0]);
        let fields = expected.len() - FIXED_BYTES;
        expected[12..16].copy_from_slice(&(fields as u32).to_le_bytes());
        expected.resize(expected.len().next_multiple_of(8), 0);
        expected.extend_from_slice(&[3, 0, 0, 0, b'a', b'.', b'b', 0, 4, 0, 0, 0]);
        assert_eq!(bytes, expected);
    }

    #[test]
    fn what_is_sent_reads_back() {
        let quota = Value::Group(vec![
            Value::text("CPUQuotaPerSecUSec"),
            Value::Variant(Box::new(Value::u64(500_000))),
        ]);
        let body = [
            Value::text("train.service"),
            Value::Flag(true),
            Value::Array("(sv)".to_owned(), vec![quota]),
            Value::Array("y".to_owned(), (0..5).map(|byte| Value::Number(b'y', byte)).collect()),
            Value::Text(b'o', "/a/b".to_owned()),
            Value::Array("{sv}".to_owned(), Vec::new()),
        ];
        let message = sent(&body);
        assert_eq!(
            (message.kind, message.serial, message.name.as_str()),
            (Kind::Call, 7, "Do")
        );
        assert_eq!(message.body, body);
        assert_eq!(message.body[3].bytes(), Some(vec![0, 1, 2, 3, 4]));
    }

    #[test]
    fn what_is_not_a_message_is_refused() {
        let good = call(
            1,
            &Target {
                destination: "a.b",
                path: "/a",
                interface: "a.b",
                member: "C",
            },
            &[Value::text("x")],
        );
        assert!(read(&good).is_ok());
        for cut in 0..good.len() {
            assert!(read(&good[..cut]).is_err(), "{cut}");
        }
        let changed = |at: usize, to: u8| {
            let mut bytes = good.clone();
            bytes[at] = to;
            read(&bytes)
        };
        assert_eq!(
            changed(0, b'B'),
            Err(MessageError::Malformed("it is not little-endian"))
        );
        assert_eq!(changed(3, 2), Err(MessageError::Malformed("it is of another version")));
        assert_eq!(changed(6, 0xff), Err(MessageError::Long));
        let deep = "a".repeat(40) + "y";
        assert!(first_type(&deep, 0).is_err());
        for wrong in ["(", "()", "a", "(s", "{s"] {
            assert!(first_type(wrong, 0).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_reading_fail_in_another_way(bytes in proptest::collection::vec(any::<u8>(), 0..200), at in 0..200usize, to: u8) {
            drop(read(&bytes));
            let mut ours = call(1, &Target { destination: "a.b", path: "/a", interface: "a.b", member: "C" }, &[
                Value::Array("(sv)".to_owned(), vec![Value::Group(vec![Value::text("k"), Value::Variant(Box::new(Value::u64(1)))])]),
            ]);
            let place = at % ours.len();
            ours[place] = to;
            drop(read(&ours));
        }
    }
}
