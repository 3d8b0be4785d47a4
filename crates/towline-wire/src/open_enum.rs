//! Words of the protocol that may grow: a newtype with constants, so that an unknown word is a value like any other.

/// Defines a word type. Known words borrow their constant, so comparing and cloning them costs nothing.
macro_rules! open_enum {
    (
        $(#[$doc:meta])*
        $name:ident { $( $(#[$item:meta])* $constant:ident = $text:literal ),+ $(,)? }
    ) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(std::borrow::Cow<'static, str>);

        impl $name {
            $( $(#[$item])* pub const $constant: Self = Self(std::borrow::Cow::Borrowed($text)); )+

            /// Every word this version knows.
            pub const KNOWN: &'static [Self] = &[$( Self::$constant ),+];

            /// The word, known or not.
            pub fn new(text: &str) -> Self {
                match text {
                    $( $text => Self::$constant, )+
                    other => Self(std::borrow::Cow::Owned(other.to_owned())),
                }
            }

            /// The word as written on the wire.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Whether this version knows the word.
            pub fn is_known(&self) -> bool {
                matches!(self.as_str(), $( $text )|+)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::read::word(deserializer, Self::new)
            }
        }
    };
}

pub(crate) use open_enum;
