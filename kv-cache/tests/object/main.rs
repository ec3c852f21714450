//! The object file held against the layouts that the agent was compiled with. Needs no privilege: nothing is loaded.
//!
//! Programs and agent are compiled by two compilers. Each states sizes at compile time, but only the object file tells
//! what the programs really use: names, sizes and flags of the maps, and by its BTF every field's offset.

mod btf;

use std::collections::BTreeMap;
use std::mem::{offset_of, size_of};

use aya_obj::generated::bpf_map_type::{self, *};
use aya_obj::{Object, ProgramSection};
use btf::{Btf, Member};
use kv_fastpath::abi::{self as kv, EntryHead, Location, Settings};
use kv_fastpath::command::{Info, Name};
use kv_fastpath::handler::State as HandlerState;
use xps_core::abi::{
    Control, DEVICES_MAX, Device, EVENTS_BYTES, LISTENERS_MAX, LOCALS_MAX, Local, OWN_MAX, State, map,
    program,
};
use xps_core::flow::{Flow, FlowKey};
use xps_core::handler::{Reply, Window};
use xps_core::handshake::{MARKS, Mark};
use xps_core::path::listen::ListenerKey;
use xps_core::path::{Reading, STAGES, Scratch, Stage};
use xps_core::predicate::{PREDICATES_MAX, Predicate};
use xps_core::splice::Splice;
use xps_core::verdict::Reason;

/// `BPF_F_NO_PREALLOC`.
const NO_PREALLOC: u32 = 1;
/// `BPF_F_MMAPABLE`.
const MAPPABLE: u32 = 1 << 10;

type ServiceFlow = Flow<HandlerState>;
type ServiceScratch = Scratch<kv_fastpath::handler::Scratch>;

fn object() -> Object {
    let bytes = std::fs::read(env!("XPS_OBJECT")).expect("the object that the build script has built");
    Object::parse(&bytes).expect("an object file")
}

/// Type, bytes of a key, bytes of a value, most entries, flags.
type Shape = (u32, usize, usize, u32, u32);

fn expected() -> BTreeMap<&'static str, Shape> {
    let of = |kind: bpf_map_type, key, value, entries, flags| (kind as u32, key, value, entries, flags);
    let array = |value, entries, flags| of(BPF_MAP_TYPE_ARRAY, 4, value, entries, flags);
    let per_cpu = |value, entries| of(BPF_MAP_TYPE_PERCPU_ARRAY, 4, value, entries, 0);
    let hash = |key, value, entries, flags| of(BPF_MAP_TYPE_HASH, key, value, entries, flags);
    BTreeMap::from([
        (map::CONTROL, array(size_of::<Control>(), 1, MAPPABLE)),
        (map::STATE, array(size_of::<State>(), 1, MAPPABLE)),
        (map::PORTS, array(1 << 16, 1, MAPPABLE)),
        (map::PREDICATES, array(size_of::<Predicate>(), PREDICATES_MAX, 0)),
        (map::DEVICES, hash(4, size_of::<Device>(), DEVICES_MAX, 0)),
        (map::OWN, hash(size_of::<FlowKey>(), 1, OWN_MAX, 0)),
        (map::LOCALS, hash(16, size_of::<Local>(), LOCALS_MAX, NO_PREALLOC)),
        (map::FLOWS, hash(size_of::<FlowKey>(), size_of::<ServiceFlow>(), 16_384, NO_PREALLOC)),
        ("BLANK", array(size_of::<ServiceFlow>(), 1, 0)),
        (map::LISTENERS, of(BPF_MAP_TYPE_SOCKHASH, size_of::<ListenerKey>(), 4, LISTENERS_MAX, 0)),
        (map::MARKS, array(size_of::<Mark>(), MARKS, 0)),
        (map::STAGES, of(BPF_MAP_TYPE_PROG_ARRAY, 4, 4, STAGES as u32, 0)),
        (map::STATS, per_cpu(8, Reason::COUNT as u32)),
        (map::SCRATCH, per_cpu(size_of::<ServiceScratch>(), 1)),
        (map::EVENTS, of(BPF_MAP_TYPE_RINGBUF, 0, 0, EVENTS_BYTES, 0)),
        (kv::map::BUCKETS, array(8, kv::BUCKETS + 1, MAPPABLE)),
        (kv::map::COMMANDS, hash(size_of::<Name>(), size_of::<Info>(), kv::COMMANDS_MAX, 0)),
        (kv::map::INDEX, hash(8, size_of::<Location>(), 262_144, 0)),
        (kv::map::PAGES, array(kv::PAGE_BYTES, 2048, MAPPABLE)),
        (kv::map::SETTINGS, array(size_of::<Settings>(), 1, MAPPABLE)),
        (kv::map::USERS, hash(4, 4, kv::USERS_MAX, 0)),
    ])
}

#[test]
fn the_maps_are_those_of_the_abi() {
    let object = object();
    let found: BTreeMap<_, Shape> = object
        .maps
        .iter()
        // The compiler's own: constants.
        .filter(|(name, _)| !name.starts_with('.'))
        .map(|(name, map)| {
            let (key, value) = (map.key_size() as usize, map.value_size() as usize);
            (name.as_str(), (map.map_type(), key, value, map.max_entries(), map.map_flags()))
        })
        .collect();
    assert_eq!(found, expected());
}

#[test]
fn the_programs_are_of_their_kinds() {
    let object = object();
    let mut names: Vec<_> = object.programs.keys().map(String::as_str).collect();
    names.sort_unstable();
    let mut expected: Vec<_> = Stage::ALL.map(Stage::program).to_vec();
    expected.extend([program::EGRESS, program::LISTEN]);
    expected.sort_unstable();
    assert_eq!(names, expected);
    for (name, program) in &object.programs {
        let right = match name.as_str() {
            program::LISTEN => matches!(program.section, ProgramSection::SkLookup),
            _ => matches!(program.section, ProgramSection::SchedClassifier),
        };
        assert!(right, "{name}: {:?}", program.section);
    }
    // Several helpers are refused to programs of another licence.
    assert_eq!(object.license.to_bytes(), b"GPL");
}

/// The fields of a type, each with its offset, and the type's size.
macro_rules! layout {
    ($type:ty: $($field:ident),+ $(,)?) => {
        (size_of::<$type>(), vec![$((stringify!($field), offset_of!($type, $field))),+])
    };
}

/// Names and offsets.
type Fields = Vec<(&'static str, usize)>;

/// All fields are named, so that one that is new in the programs is missing here.
fn layouts() -> Vec<(&'static str, (usize, Fields))> {
    vec![
        (
            "Control",
            layout!(Control: version, accept, answer, flows_max, lease_deadline_ns, secret, internal_mark,
            reply_bytes_max),
        ),
        ("State", layout!(State: flows, foreign, unseen, unseen_key, unseen_by)),
        ("Device", layout!(Device: redirect, mtu, vrf)),
        ("Local", layout!(Local: scope, index, accelerated)),
        ("Predicate", layout!(Predicate: address, prefix_bits, accelerated_port, plain_port)),
        ("FlowKey", layout!(FlowKey: client, server, client_port, server_port, padding)),
        ("Flow", layout!(ServiceFlow: lock, bound, splice, outlet, handler, reply)),
        (
            "Splice",
            layout!(Splice: server_claim, flags, client_next, client_ack, server_next, server_ack, server_una, consumed, injected,
            injection_start, injection_len, request_start, request_len, server_tsval, server_edge, server_start,
            client_window_max, client_skip, server_skip, server_window, mss, client_shift, server_shift, client_window,
            client_tsval,
            client_echoed),
        ),
        ("State", layout!(HandlerState: request, response, connection)),
        ("Reply", layout!(Reply: bytes, len, padding)),
        ("Window", layout!(Window: bytes, at, len, base, skip)),
        ("Reading", layout!(Reading: payload, position, end, skip)),
        (
            "Scratch",
            layout!(ServiceScratch: window, reading, key, accelerated, role, layout, tcp, request, ending, shown, told,
            outgoing, piece, turned, header, options,
            handler),
        ),
        (
            "Mark",
            layout!(Mark: tag, client_isn, server_isn, mss, client_shift, server_shift, flags, server_tsval,
            server_tsval_first, client_tsval, server_window, born, ifindex, link_first, link_last,
            service, padding),
        ),
        (
            "Settings",
            layout!(Settings: version, coherent, foreign_seen, rechecks_seen, rechecks, miss_sample, users,
            bypass, epoch, refresh_ns),
        ),
        ("Location", layout!(Location: page, offset_words, hits)),
        (
            "EntryHead",
            layout!(EntryHead: id, bucket, global, deadline_tai_ns, key_len, reply_len, database, reply_room,
                padding),
        ),
        ("Info", layout!(Info: class, first, last, step)),
    ]
}

#[test]
fn every_field_lies_where_the_agent_looks_for_it() {
    let object = object();
    let bytes = object.btf.expect("BTF in the object (-Clink-arg=--btf)").to_bytes();
    let btf = Btf::parse(&bytes).expect("BTF that can be read");
    for (name, (size, fields)) in layouts() {
        // Names are not unique, and those of generic types have their parameters behind them.
        let candidates: Vec<_> = btf.structs().filter(|found| btf::base_name(&found.name) == name).collect();
        let members: Vec<_> = fields
            .iter()
            .map(|(field, offset)| Member { name: (*field).to_owned(), offset: *offset })
            .collect();
        assert!(
            candidates.iter().any(|found| found.size == size && found.members == members),
            "{name} of {size} bytes with {members:#?}\nis not in the object, which has {candidates:#?}"
        );
    }
}
