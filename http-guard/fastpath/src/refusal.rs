//! Why a request is refused, and with which status.
//!
//! Whatever two parsers could read in two ways is refused (G3), and the connection closed, since nobody knows where the
//! next request would begin. The statuses are those that Nginx itself gives, where it refuses too.

macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $label:literal, $status:literal;)*) => {
        /// Why a request is refused.
        #[repr(u8)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Refusal {
            $($(#[$doc])* $name = $number,)*
        }

        impl Refusal {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The refusal with this number.
            #[inline(always)]
            #[must_use]
            pub const fn from_u8(number: u8) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// Its name in counters.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self {
                    $(Self::$name => $label,)*
                }
            }

            /// The status of the answer.
            #[inline(always)]
            #[must_use]
            pub const fn status(self) -> u16 {
                match self {
                    $(Self::$name => $status,)*
                }
            }
        }
    };
}

refusals! {
    /// A byte that no method has, or no method at all.
    BadMethod = 1, "bad_method", 400;
    /// CONNECT asks for a tunnel, which no origin server gives. Nginx, too, answers with 405.
    ConnectMethod = 2, "connect_method", 405;
    /// Spaces or words too many or too few in the request line, or no version that could be one.
    BadRequestLine = 3, "bad_request_line", 400;
    /// An empty line where a request line should be.
    EmptyLine = 4, "empty_line", 400;
    /// A request without a version. Nginx would serve it, but where its response ends nobody can tell.
    NoVersion = 5, "no_version", 400;
    /// The preface of HTTP/2.
    Http2Preface = 6, "http2_preface", 400;
    /// A version that is neither 1.0 nor 1.1.
    BadVersion = 7, "bad_version", 505;
    /// A target in none of the forms of RFC 9112 section 3.2, or not in the method's.
    BadTarget = 8, "bad_target", 400;
    /// A percent sign in the path without two hexadecimal digits behind it.
    BadEscape = 9, "bad_escape", 400;
    /// A path that contains a NUL, escaped.
    EscapedNul = 10, "escaped_nul", 400;
    /// A path that climbs above its root.
    AboveRoot = 11, "above_root", 400;
    /// A path with more segments than are kept apart ([`crate::path::DEPTH_MAX`]).
    TooDeep = 12, "too_deep", 400;
    /// A request line over the limit.
    TargetTooLong = 13, "target_too_long", 414;
    /// A head, or trailers, over the limit.
    HeadTooLarge = 14, "head_too_large", 431;
    /// A line feed without a carriage return.
    BareLf = 15, "bare_lf", 400;
    /// A carriage return without a line feed.
    BareCr = 16, "bare_cr", 400;
    /// A NUL.
    Nul = 17, "nul", 400;
    /// Another control byte.
    Control = 18, "control", 400;
    /// A line that begins with white space: the obsolete folding of RFC 9112 section 5.2, or such before all fields.
    Folded = 19, "folded", 400;
    /// A field without a name.
    EmptyName = 20, "empty_name", 400;
    /// White space between a field's name and its colon (RFC 9112 section 5.1).
    SpaceBeforeColon = 21, "space_before_colon", 400;
    /// A byte that no field's name has, or a line without a colon.
    BadName = 22, "bad_name", 400;
    /// A Content-Length that is no number.
    BadLength = 23, "bad_length", 400;
    /// A Content-Length over 2^63 - 1.
    LengthOverflow = 24, "length_overflow", 400;
    /// Two Content-Length fields, or a list in one, equal or not.
    RepeatedLength = 25, "repeated_length", 400;
    /// Two Transfer-Encoding fields.
    RepeatedEncoding = 26, "repeated_encoding", 400;
    /// A Transfer-Encoding that is not exactly `chunked`.
    UnknownEncoding = 27, "unknown_encoding", 501;
    /// A Transfer-Encoding in HTTP/1.0, which has none (RFC 9112 section 6.1).
    EncodingInOldVersion = 28, "encoding_in_old_version", 400;
    /// Content-Length and Transfer-Encoding together (RFC 9112 section 6.3).
    LengthAndEncoding = 29, "length_and_encoding", 400;
    /// No Host field in HTTP/1.1.
    NoHost = 30, "no_host", 400;
    /// Two Host fields.
    RepeatedHost = 31, "repeated_host", 400;
    /// A host that is none, in the Host field or the target.
    BadHost = 32, "bad_host", 400;
    /// A target's host that is not the one of the Host field.
    HostMismatch = 33, "host_mismatch", 400;
    /// A chunk's size that is no number, or too large.
    BadChunkSize = 34, "bad_chunk_size", 400;
    /// A chunk's extension that is none, or too long.
    BadChunkExtension = 35, "bad_chunk_extension", 400;
    /// Something else than a line's end behind a chunk.
    BadChunkEnd = 36, "bad_chunk_end", 400;
    /// A field in the trailers that belongs into the head (RFC 9110 section 6.5.1).
    ForbiddenTrailer = 37, "forbidden_trailer", 400;
}

/// What a control byte is refused as; `other` for all other bytes.
#[inline(always)]
pub(crate) const fn control(byte: u8, other: Refusal) -> Refusal {
    match byte {
        b'\n' => Refusal::BareLf,
        b'\r' => Refusal::BareCr,
        0 => Refusal::Nul,
        1..=0x1f | 0x7f => Refusal::Control,
        _ => other,
    }
}

/// Whether a byte stands for no character (RFC 9110 section 5.5).
#[inline(always)]
pub(crate) const fn is_control(byte: u8) -> bool {
    byte < 0x20 || byte == 0x7f
}

/// Whether a byte may be in a token (RFC 9110 section 5.6.2).
#[inline(always)]
pub(crate) const fn is_token(byte: u8) -> bool {
    // One bit for each of the 128 characters: letters, digits, and !#$%&'*+-.^_`|~
    const LOW: u64 = 0x03ff_6cfa << 32;
    const HIGH: u64 = 0x57ff_ffff_c7ff_fffe;
    if byte < 64 { LOW >> byte & 1 != 0 } else { byte < 128 && HIGH >> (byte - 64) & 1 != 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_those_of_the_standard() {
        for byte in 0..=255u8 {
            let expected = byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            assert_eq!(is_token(byte), expected, "{byte:#x}");
        }
    }

    #[test]
    fn numbers_and_labels_are_unique() {
        for (index, refusal) in Refusal::ALL.iter().enumerate() {
            assert_eq!(*refusal as usize, index + 1);
            assert_eq!(Refusal::from_u8(*refusal as u8), Some(*refusal));
            assert!(Refusal::ALL[..index].iter().all(|other| other.label() != refusal.label()));
        }
        assert_eq!(Refusal::from_u8(0), None);
    }
}
