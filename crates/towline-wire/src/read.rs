//! How values are read: strings without copying them, objects field by field with the field's name in every error.
//!
//! Serde's derived readers quote the value at fault (a secret, perhaps), do not say in which field it stands, take an
//! array for an object, and refuse an object that spells one field in two ways, which is how some SDKs please several
//! others at once. [`readable`] writes readers that do none of that.

use std::{borrow::Cow, convert::Infallible, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{self, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use crate::RawJson;

/// A string, borrowed from the input when it has no escapes. (`Cow` itself always allocates when it is deserialised.)
pub(crate) struct Text<'a>(pub(crate) Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(TextVisitor)
    }
}

/// Reads a string and hands it to `parse`, without an allocation even when it has escapes.
pub(crate) fn parsed<'de, D, T, E, F>(deserializer: D, parse: F) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    E: fmt::Display,
    F: FnOnce(&str) -> Result<T, E>,
{
    struct Parsed<T, E, F>(F, PhantomData<(T, E)>);

    impl<T, E: fmt::Display, F: FnOnce(&str) -> Result<T, E>> Visitor<'_> for Parsed<T, E, F> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string")
        }

        fn visit_str<X: de::Error>(self, text: &str) -> Result<T, X> {
            (self.0)(text).map_err(X::custom)
        }
    }

    deserializer.deserialize_str(Parsed(parse, PhantomData))
}

/// [`parsed`] for words that are never refused.
pub(crate) fn word<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    read: impl FnOnce(&str) -> T,
) -> Result<T, D::Error> {
    parsed(deserializer, |text| Ok::<_, Infallible>(read(text)))
}

/// A text that only informs: what cannot be read is no reason to refuse the message, and is read as absent.
pub(crate) struct Informative<T>(pub(crate) Option<T>);

/// What can be read from a text, if it is the right text.
pub(crate) trait FromText: Sized {
    fn from_text(text: &str) -> Option<Self>;
}

impl<T> From<Informative<T>> for Option<T> {
    fn from(value: Informative<T>) -> Self {
        value.0
    }
}

impl<'de, T: FromText> Deserialize<'de> for Informative<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_any(InformativeVisitor(PhantomData))
            .map(Self)
    }
}

struct InformativeVisitor<T>(PhantomData<T>);

impl<'de, T: FromText> Visitor<'de> for InformativeVisitor<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Option<T>, E> {
        Ok(T::from_text(text))
    }

    fn visit_unit<E>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Option<T>, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Option<T>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

/// Whose name of a field stands in the object.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spelling {
    Ours,
    Theirs,
}

/// One field of an object while it is read.
pub(crate) struct Slot<T> {
    value: Option<T>,
    /// Whether our own spelling was there, if only with `null`.
    given: bool,
}

impl<T> Slot<T> {
    pub(crate) const EMPTY: Self = Self {
        value: None,
        given: false,
    };

    /// Takes the value of a field, read as `V`. `null` is read as absent [ARCP 5-6]. Another SDK's spelling of the
    /// field gives way to ours; ours twice is refused, because the peers of a relay would not agree on which one holds.
    pub(crate) fn take_as<'de, V, A>(
        &mut self,
        map: &mut A,
        name: &str,
        from: Spelling,
    ) -> Result<(), A::Error>
    where
        V: Deserialize<'de> + Into<Option<T>>,
        A: MapAccess<'de>,
    {
        let read = |map: &mut A| Ok(map.next_value::<Option<V>>()?.and_then(Into::into));
        self.take_with(map, name, from, read)
    }

    fn take_with<'de, A: MapAccess<'de>>(
        &mut self,
        map: &mut A,
        name: &str,
        from: Spelling,
        read: impl FnOnce(&mut A) -> Result<Option<T>, A::Error>,
    ) -> Result<(), A::Error> {
        if from == Spelling::Theirs && self.value.is_some() {
            return map.next_value::<IgnoredAny>().map(drop);
        }
        if from == Spelling::Ours && std::mem::replace(&mut self.given, true) {
            return Err(given_twice(name));
        }
        if let Some(value) = read(map).map_err(|cause| at(name, &cause))? {
            self.value = Some(value);
        }
        Ok(())
    }

    pub(crate) fn opt(self) -> Option<T> {
        self.value
    }

    pub(crate) fn or(self, absent: impl FnOnce() -> T) -> T {
        self.value.unwrap_or_else(absent)
    }

    pub(crate) fn req<E: de::Error>(self, name: &'static str) -> Result<T, E> {
        self.value.ok_or_else(|| E::missing_field(name))
    }
}

impl<T> Slot<T> {
    /// [`Slot::take_as`] for a type that needs no detour.
    pub(crate) fn take<'de, A>(
        &mut self,
        map: &mut A,
        name: &str,
        from: Spelling,
    ) -> Result<(), A::Error>
    where
        T: Deserialize<'de>,
        A: MapAccess<'de>,
    {
        self.take_with(map, name, from, |map| map.next_value())
    }
}

impl Slot<RawJson> {
    /// Takes any JSON, `null` too.
    pub(crate) fn take_raw<'de, A>(
        &mut self,
        map: &mut A,
        name: &str,
        from: Spelling,
    ) -> Result<(), A::Error>
    where
        A: MapAccess<'de>,
    {
        self.take_with(map, name, from, |map| map.next_value().map(Some))
    }
}

pub(crate) fn given_twice<E: de::Error>(name: &str) -> E {
    E::custom(format_args!("`{name}`: given twice"))
}

/// Says in which field something went wrong. Inside an object inside an object the names become one path.
pub(crate) fn at<E: de::Error>(name: &str, cause: &E) -> E {
    let message = explain(&cause.to_string());
    let inner = message.strip_prefix('`').filter(|rest| {
        rest.find('`')
            .is_some_and(|end| rest[end..].starts_with("`: "))
    });
    match inner {
        Some(inner) => E::custom(format_args!("`{name}.{inner}")),
        None => E::custom(format_args!("`{name}`: {message}")),
    }
}

/// Why JSON is not of the type it was read as, for a person: without positions (a frame is one line), names of Rust types,
/// or texts that stand in it, which may be secrets.
///
/// ```
/// let cause = serde_json::from_str::<Vec<u64>>(r#"["s3cret"]"#).unwrap_err();
/// let said = towline_wire::explain_json(&cause);
/// assert_eq!(said, "expected a whole number that is not negative, found a string");
/// ```
pub fn explain_json(cause: &serde_json::Error) -> String {
    explain(&cause.to_string())
}

/// Serde's words for a value of the wrong type, made for a person: no names of Rust types, no quoted text.
pub(crate) fn explain(message: &str) -> String {
    let message = strip_position(message);
    let mismatch = ["invalid type: ", "invalid value: "]
        .into_iter()
        .find_map(|intro| message.strip_prefix(intro));
    let Some((found, expected)) = mismatch.and_then(|rest| rest.rsplit_once(", expected ")) else {
        return message.to_owned();
    };
    let expected = expected_words(expected);
    format!(
        "expected {expected}, found {}",
        found_words(found, expected)
    )
}

fn expected_words(expected: &str) -> &str {
    match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number that is not negative",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a sequence" => "an array",
        "a map" => "an object",
        other if other.starts_with("struct ") => "an object",
        other if other.starts_with("tuple ") => "an array",
        other => other,
    }
}

/// The kind of the value; only a number that is the wrong number is quoted, for a secret may be made of digits.
fn found_words<'a>(found: &'a str, expected: &str) -> &'a str {
    let number = ["integer `", "floating point `"]
        .into_iter()
        .find_map(|intro| found.strip_prefix(intro));
    if let Some(number) = number {
        return if expected.contains("number") {
            number.trim_end_matches('`')
        } else {
            "a number"
        };
    }
    match found.split([' ', '`']).next() {
        Some("string" | "character") => "a string",
        Some("boolean") => "a boolean",
        Some("null" | "unit") => "null",
        Some("map") => "an object",
        Some("sequence") => "an array",
        Some("number") => "a number",
        _ => "something else",
    }
}

/// Drops serde_json's " at line 1 column 2": a frame is one line, and the field's name says more.
pub(crate) fn strip_position(message: &str) -> &str {
    let end = message.rfind(" at line ").unwrap_or(message.len());
    &message[..end]
}

/// Quotes a peer's text in an error, cut short.
pub(crate) fn excerpt(text: &str) -> String {
    const LONGEST: usize = 64;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Writes `Deserialize` for a struct, one line a field: `name: how`, where `how` is
/// - `req`: has to be there,
/// - `opt`: an `Option`,
/// - `def`: the type's default when absent,
/// - `or(f)`: `f()` when absent,
/// - `raw`: an `Option<RawJson>` that tells `null` from absent;
///
/// `as Type` reads through another type, or else `| "other"` names another SDK's spelling of the field, and a function after
/// the fields, `then f`, sees the whole value last. Unknown fields are skipped [ARCP 5-2].
macro_rules! readable {
    ($type:ident {
        $( $field:ident : $how:ident $(($absent:expr))? $(as $via:ty)? $(| $other:literal)* ),+ $(,)?
    } $(then $then:expr)?) => {
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Fields;

                impl<'de> serde::de::Visitor<'de> for Fields {
                    type Value = $type;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("an object")
                    }

                    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<$type, A::Error> {
                        $( let mut $field = $crate::read::Slot::EMPTY; )+
                        while let Some($crate::read::Text(name)) = map.next_key()? {
                            match &*name {
                                $( stringify!($field) => $crate::read::readable!(
                                    @take $how $field map (stringify!($field)) Ours $($via)?
                                ),
                                $( $other => $crate::read::readable!(
                                    @take $how $field map $other Theirs
                                ), )* )+
                                _ => { map.next_value::<serde::de::IgnoredAny>()?; }
                            }
                        }
                        let value = $type {
                            $( $field: $crate::read::readable!(@finish $how $field $(($absent))?), )+
                        };
                        $( let value = ($then)(value); )?
                        Ok(value)
                    }
                }

                deserializer.deserialize_map(Fields)
            }
        }
    };
    (@take raw $field:ident $map:ident $name:tt $from:ident) => {
        $field.take_raw(&mut $map, $name, $crate::read::Spelling::$from)?
    };
    (@take $how:ident $field:ident $map:ident $name:tt $from:ident) => {
        $field.take(&mut $map, $name, $crate::read::Spelling::$from)?
    };
    (@take $how:ident $field:ident $map:ident $name:tt $from:ident $via:ty) => {
        $field.take_as::<$via, _>(&mut $map, $name, $crate::read::Spelling::$from)?
    };
    (@finish req $field:ident) => { $field.req(stringify!($field))? };
    (@finish opt $field:ident) => { $field.opt() };
    (@finish raw $field:ident) => { $field.opt() };
    (@finish def $field:ident) => { $field.or(Default::default) };
    (@finish or $field:ident ($absent:expr)) => { $field.or($absent) };
}

pub(crate) use readable;
