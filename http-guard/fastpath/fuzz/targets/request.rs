//! Any bytes of a client: the same requests however they are cut, and what passes is read by `httparse` as well, with the
//! same method, path and fields.
#![no_main]

use http_fastpath::head::Settings;
use http_fastpath::host::{Seen, requests};
use libfuzzer_sys::fuzz_target;

/// Fields that frame the message are told, too, but the host is told as such.
fn same_as_oracle(bytes: &[u8], seen: &Seen) {
    let mut headers = [httparse::EMPTY_HEADER; 256];
    let mut oracle = httparse::Request::new(&mut headers);
    let result = oracle.parse(bytes);
    assert!(matches!(result, Ok(httparse::Status::Complete(_))), "{result:?} of what passes");
    assert_eq!(oracle.method.map(str::as_bytes), Some(&seen.method[..]));
    let target = oracle.path.unwrap_or_default();
    // Without anything to decode, merge or resolve, the path is the target.
    let plain = target.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'/');
    if plain && target.starts_with('/') && !target.contains("//") {
        assert_eq!(target.as_bytes(), &seen.path[..]);
    }
    let told = oracle.headers.iter().filter(|header| !header.name.eq_ignore_ascii_case("host"));
    let told: Vec<_> = told.collect();
    assert_eq!(told.len(), seen.fields.len());
    for (header, (name, value)) in told.iter().zip(&seen.fields) {
        // A name that is too long is not kept, and the oracle leaves tabs at the end of a value.
        if header.name.len() <= 32 {
            assert_eq!(header.name.to_lowercase().as_bytes(), &name[..]);
        }
        assert_eq!(header.value.trim_ascii(), &value[..]);
    }
}

fuzz_target!(|input: (u8, u8, &[u8])| {
    let (first, second, bytes) = input;
    let settings = Settings { line_bytes_max: 300, head_bytes_max: 600, ..Settings::DEFAULT };
    let whole = requests(bytes, &[], &settings);
    let mut cuts = [usize::from(first) % (bytes.len() + 1), usize::from(second) % (bytes.len() + 1)];
    cuts.sort_unstable();
    assert_eq!(requests(bytes, &cuts, &settings), whole);
    let pieces: Vec<usize> = (1..bytes.len()).step_by(usize::from(first) % 7 + 1).collect();
    assert_eq!(requests(bytes, &pieces, &settings), whole);
    // The oracle wants UTF-8 in the target; Nginx takes any bytes.
    if let Some(seen) = whole.seen.first() {
        let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
        if std::str::from_utf8(line).is_ok() {
            same_as_oracle(bytes, seen);
        }
    }
});
