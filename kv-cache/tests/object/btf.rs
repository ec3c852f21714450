//! The structs of an object's BTF (linux/Documentation/bpf/btf.rst): as much as it takes to see fields' offsets.

/// `BTF_MAGIC`.
const MAGIC: u16 = 0xeb9f;
/// `BTF_KIND_STRUCT`.
const STRUCT: u32 = 4;

/// The structs.
pub(crate) struct Btf {
    structs: Vec<Struct>,
}

/// A struct.
#[derive(Debug)]
pub(crate) struct Struct {
    /// Its name, without the path, with mangled parameters.
    pub(crate) name: String,
    /// In bytes.
    pub(crate) size: usize,
    /// Its fields by offset.
    pub(crate) members: Vec<Member>,
}

/// A field.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Member {
    /// Its name.
    pub(crate) name: String,
    /// In bytes.
    pub(crate) offset: usize,
}

impl Btf {
    /// Reads all types; `None` if the bytes are not BTF.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let magic = u16::from_ne_bytes(*bytes.first_chunk()?);
        if magic != MAGIC {
            return None;
        }
        let header = word(bytes, 4)? as usize;
        let section = |at: usize| {
            let (offset, len) = (word(bytes, at)? as usize, word(bytes, at + 4)? as usize);
            bytes.get(header + offset..)?.get(..len)
        };
        let (types, strings) = (section(8)?, section(16)?);
        let mut structs = Vec::new();
        let mut at = 0;
        while at < types.len() {
            let info = word(types, at + 4)?;
            let (kind, count, by_bits) = (info >> 24 & 31, (info & 0xffff) as usize, info >> 31 == 1);
            if kind == STRUCT {
                let member = |i: usize| {
                    let at = at + 12 + i * 12;
                    let bits = word(types, at + 8)? & if by_bits { 0xff_ffff } else { u32::MAX };
                    Some(Member { name: text(strings, word(types, at)?)?, offset: bits as usize / 8 })
                };
                let mut members: Vec<_> = (0..count).map(member).collect::<Option<_>>()?;
                members.sort_by_key(|member| member.offset);
                let (name, size) = (text(strings, word(types, at)?)?, word(types, at + 8)? as usize);
                structs.push(Struct { name, size, members });
            }
            at += 12 + trailer(kind, count)?;
        }
        Some(Self { structs })
    }

    /// All of them.
    pub(crate) fn structs(&self) -> impl Iterator<Item = &Struct> {
        self.structs.iter()
    }
}

/// The name without its parameters: the linker spells `<` as `_3C_`.
pub(crate) fn base_name(name: &str) -> &str {
    name.split_once("_3C_").map_or(name, |(base, _)| base)
}

/// Bytes behind the first twelve of a type, by kind.
fn trailer(kind: u32, count: usize) -> Option<usize> {
    Some(match kind {
        // INT, VAR, DECL_TAG
        1 | 14 | 17 => 4,
        // PTR, FWD, TYPEDEF, VOLATILE, CONST, RESTRICT, FUNC, FLOAT, TYPE_TAG
        2 | 7..=12 | 16 | 18 => 0,
        // ARRAY
        3 => 12,
        // STRUCT, UNION, DATASEC, ENUM64
        4 | 5 | 15 | 19 => count * 12,
        // ENUM, FUNC_PROTO
        6 | 13 => count * 8,
        _ => return None,
    })
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn text(strings: &[u8], at: u32) -> Option<String> {
    let bytes = strings.get(at as usize..)?.split(|&byte| byte == 0).next()?;
    Some(String::from_utf8_lossy(bytes).into_owned())
}
