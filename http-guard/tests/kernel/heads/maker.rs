//! Makes streams: by a grammar that knows what parsers disagree on, and by damage to what there is.

use crate::probes::table;
use crate::random::Random;

/// Surely one segment, not two.
const SEGMENT_BYTES_MAX: usize = 1400;

/// Words that `|` separates.
type Words = &'static [u8];

/// What stands in paths. Some of them lead to what is denied.
const PIECES: Words =
    b"/|/|/|/a|/b|/c|/d|a|b|c|d|//|/.|/./|/..|/../|%2f|%2F|%2e|%2E%2e|/%2e%2e/|..%2f|a|b|x/y|private|private|/private|\
    /private/|%70rivate|priv%61te|/%50rivate|PRIVATE|/x/../private|/private/../|/private/..%2f|\
    /private%2f..|privat|e|%|%%|%2|%zz|%00|%0a|%20|%25|%252e|%3f|%23|+|;|:|@|\\|...|..|.|\xff|\
    \xc3\xa9|\"|~";
const METHODS: Words = b"POST|PUT|HEAD|DELETE|OPTIONS|PROPFIND|M-S_X|PRI";
const ODD_METHODS: Words = b"|get|CONNECT|TRACE|GE T|G\xffT|GET:|\0|1GET|-|_";
const ODD_SPACES: Words = b"|  |\t|\x0b|\x0c|\r|\n|\xa0| \t|\0";
const ODD_ENDS: Words = b"\n|\r|\r\r\n|\n\r| \r\n|\t\r\n|\r\n\r\n|\0\r\n||\r\n ";
const ODD_VERSIONS: Words =
    b"HTTP/1.0|HTTP/1.2|HTTP/1.|HTTP/1|HTTP/0.9|HTTP/2.0|HTTP/01.1|HTTP/1.01|http/1.1||HTTP/1.1x|\
    HTTP/1.1 |HTTP/1.1\t|HTTPS/1.1|HTTP/1.11";
const HOSTS: Words = b"a.example|a.example|A.example|a.example:8080|a.example.|[::1]:80|127.0.0.1|a_b";
const ODD_HOSTS: Words =
    b"| |a b|a..b|.|a/b|u@a|a:b|a:99999|a:80:80|[::1|[]|[::1]x|a,b|a\xff|%00|a\tb|\ta|a\t|a?b|a#b|\
    a\\b|-|a:";
const NAMES: Words = b"X|Accept|Cookie|X-Forwarded-For|Te|Upgrade|Range|x_y|!#$%&'*+-.^`~9";
const ODD_NAMES: Words =
    b"| X|X |\tX|X\t|X Y|X\0|X\xff|X(|X\rY|\x0bX|Content-Length |Transfer-Encoding\t|Content_Length|\
    Transfer_Encoding|Host |Content-Lengt|Hos|X;|X/Y";
const VALUES: Words = b"|a|a, b|a:b|\xc3\xa9|a\tb|\"a\\\"b\"|chunked|5|GET / HTTP/1.1";
const ODD_VALUES: Words = b"\0|a\0|a\rb|a\nb|a\r\n b|\x0b|\x7f|a\r|\r\n\tb|\x01";
const LENGTHS: Words = b"+|-|0x| |\t|,|1,|\x0b|\"";
const LENGTH_TAILS: Words = b" |\t|,|, 5|a|.0|_0|\0|;|\x0b|\r";
const CODINGS: Words =
    b"Chunked|chunked |  chunked|\tchunked|chunked\t|chunked, chunked|gzip, chunked|chunked, gzip|\
    identity|xchunked|chunked;a=b|\"chunked\"||\x0bchunked|chunked\0|chun\r\n ked|,chunked|chunked,|\
    chunke|chunkedd";
const CONNECTIONS: Words = b"close|keep-alive|Close|upgrade|x, close|content-length|transfer-encoding|host|";
const EXTENSIONS: Words = b"|||;a|;a=b|;a=\"b;\\\"\"|;a;b=c";
const ODD_EXTENSIONS: Words = b" |\t| ;a|; a|;a |;|;=|;a=|;a=\"|;a\n|;a\r|;\0|\x0b|;a=\"\n\"|x|\r|;a=\"b\"c";
const TRAILERS: Words = b"||X: y\r\n|X:\r\nY: z\r\n";
const ODD_TRAILERS: Words =
    b"Content-Length: 5\r\n|Host: b\r\n|X : y\r\n| X: y\r\n|X: y\n|X\r\n|X: \0\r\n|X: y\r\n z\r\n|\
    Transfer-Encoding: chunked\r\n|GET /private HTTP/1.1\r\n|\n|\r";
/// What damage puts in.
const TOKENS: Words =
    b"\r\n|\n|\r| |\t|\0|:|,|;|\"|/|/../|%2e|%2f|%00|%|?|#|\xff|\x7f|\x0b|0\r\n\r\n|\r\n\r\n|5|\
    private|/private|chunked|Content-Length: 3\r\n|Transfer-Encoding: chunked\r\n|\
    Host: b.example\r\n|Connection: close\r\n|http://a.example|HTTP/1.0|HTTP/1.1\r\n|\
    GET /private HTTP/1.1\r\nHost: a.example\r\n\r\n|-|+|_|.|a";

/// Makes streams of numbers that look random.
pub(crate) struct Maker {
    random: Random,
    probes: Vec<&'static [u8]>,
    /// One of how many choices is an odd one.
    oddity: usize,
}

impl Maker {
    pub(crate) fn new(seed: u64) -> Self {
        let probes = table::all().map(|probe| probe.bytes).collect();
        Self { random: Random(seed), probes, oddity: 1 }
    }

    /// A stream, and where it is cut.
    pub(crate) fn stream(&mut self) -> (Vec<u8>, Vec<usize>) {
        let (bytes, mut cuts) = self.parts();
        // What is more the kernel would cut itself.
        cuts.extend((1..=bytes.len() / SEGMENT_BYTES_MAX).map(|times| times * SEGMENT_BYTES_MAX));
        cuts.sort_unstable();
        cuts.dedup();
        cuts.retain(|cut| (1..bytes.len()).contains(cut));
        (bytes, cuts)
    }

    fn parts(&mut self) -> (Vec<u8>, Vec<usize>) {
        self.oddity = [8, 40, 200, 1000][self.random.below(4)];
        if self.random.below(8) == 0 {
            return self.again();
        }
        let (mut bytes, mut cuts) = (Vec::new(), Vec::new());
        let apart = self.random.below(2) == 0;
        for _ in 0..=self.random.below(3) {
            let mut part = if self.random.below(3) == 0 { self.probe().to_vec() } else { self.request() };
            if self.random.below(4) == 0 {
                for _ in 0..=self.random.below(3) {
                    self.damage(&mut part);
                }
            }
            bytes.extend(part);
            if apart {
                cuts.push(bytes.len());
            }
        }
        cuts.extend((0..self.random.below(4)).map(|_| self.random.below(bytes.len() + 1)));
        // Ends of lines are where parsers stop.
        if self.random.below(2) == 0 {
            let ends: Vec<_> = (1..bytes.len()).filter(|at| bytes[at - 1] == b'\n').collect();
            if !ends.is_empty() {
                cuts.push(ends[self.random.below(ends.len())]);
            }
        }
        (bytes, cuts)
    }

    /// A head that comes again and again, each time as a segment of its own, and then almost as it was.
    fn again(&mut self) -> (Vec<u8>, Vec<usize>) {
        let head = self.request();
        let mut last = head.clone();
        self.damage(&mut last);
        let cuts = (1..=3).map(|times| times * head.len()).collect();
        ([head.repeat(3), last, head].concat(), cuts)
    }

    fn one_of(&mut self, all: Words) -> &'static [u8] {
        let mut words = all.split(|byte| *byte == b'|');
        let chosen = self.random.below(words.clone().count());
        words.nth(chosen).unwrap_or_default()
    }

    fn is_odd(&mut self) -> bool {
        self.random.below(self.oddity) == 0
    }

    /// Usually `plain`.
    fn or_odd(&mut self, plain: &'static [u8], odd: Words) -> &'static [u8] {
        if self.is_odd() { self.one_of(odd) } else { plain }
    }

    fn probe(&mut self) -> &'static [u8] {
        self.probes[self.random.below(self.probes.len())]
    }

    fn path(&mut self) -> Vec<u8> {
        let mut path = b"/".to_vec();
        for _ in 0..self.random.below(7) {
            let mut piece = self.one_of(PIECES);
            // Escapes that are none are refused, whatever else there is.
            while piece.contains(&b'%') && !is_escaped(piece) && !self.is_odd() {
                piece = self.one_of(PIECES);
            }
            path.extend(piece);
        }
        match self.random.below(8) {
            0 => path.extend(b"?a=/../private"),
            1 => path.extend(b"#/private"),
            2 => path.extend(b"?"),
            _ => {}
        }
        path
    }

    fn request(&mut self) -> Vec<u8> {
        let mut method: &[u8] = if self.random.below(2) == 0 { b"GET" } else { self.one_of(METHODS) };
        method = if self.is_odd() { self.one_of(ODD_METHODS) } else { method };
        let host = if self.is_odd() { self.one_of(ODD_HOSTS) } else { self.one_of(HOSTS) };
        let mut target = self.path();
        if self.random.below(8) == 0 {
            let scheme: &[u8] = if self.random.below(4) == 0 { b"HTTPS://" } else { b"http://" };
            let authority = if self.is_odd() { self.one_of(HOSTS) } else { host };
            target = [scheme, authority, &target].concat();
        } else if self.is_odd() {
            let other: [&[u8]; 5] = [b"*", b"a.example:80", b"", b"private", b"?a"];
            target = other[self.random.below(other.len())].to_vec();
        }
        let mut bytes = method.to_vec();
        bytes.extend(self.or_odd(b" ", ODD_SPACES));
        bytes.extend(target);
        bytes.extend(self.or_odd(b" ", ODD_SPACES));
        let version: &[u8] = if self.random.below(12) == 0 { b"HTTP/1.0" } else { b"HTTP/1.1" };
        bytes.extend(if self.is_odd() { self.one_of(ODD_VERSIONS) } else { version });
        bytes.extend(self.or_odd(b"\r\n", ODD_ENDS));
        let (framing, body) = self.body();
        let mut lines = vec![self.line(b"Host", host)];
        for line in framing {
            lines.insert(self.random.below(lines.len() + 1), line);
        }
        for _ in 0..self.random.below(3) {
            let line = self.other_line();
            lines.insert(self.random.below(lines.len() + 1), line);
        }
        if self.random.below(40) == 0 {
            // A head may have 8192 bytes.
            let filler = vec![b'a'; 7900 + self.random.below(400)];
            lines.insert(self.random.below(lines.len() + 1), self.line(b"X", &filler));
        }
        if self.is_odd() {
            let at = self.random.below(lines.len());
            if self.random.below(2) == 0 {
                lines.remove(at);
            } else {
                lines.push(lines[at].clone());
            }
        }
        bytes.extend(lines.concat());
        bytes.extend(self.or_odd(b"\r\n", ODD_ENDS));
        bytes.extend(body);
        bytes
    }

    fn line(&mut self, name: &[u8], value: &[u8]) -> Vec<u8> {
        let mut line = match self.random.below(6) {
            0 => name.to_ascii_uppercase(),
            1 => name.to_ascii_lowercase(),
            _ => name.to_vec(),
        };
        line.extend(self.or_odd(b":", b"| :|\t:|::|:\r\n "));
        let spaces: [&[u8]; 4] = [b" ", b" ", b"", b"   "];
        line.extend(spaces[self.random.below(4)]);
        line.extend(value);
        line.extend(self.or_odd(b"\r\n", ODD_ENDS));
        line
    }

    fn other_line(&mut self) -> Vec<u8> {
        match self.random.below(6) {
            0 => {
                let value = self.one_of(CONNECTIONS);
                self.line(b"Connection", value)
            }
            1 => self.line(b"Expect", b"100-continue"),
            _ => {
                let name = if self.is_odd() { self.one_of(ODD_NAMES) } else { self.one_of(NAMES) };
                let value = if self.is_odd() { self.one_of(ODD_VALUES) } else { self.one_of(VALUES) };
                self.line(name, value)
            }
        }
    }

    /// Lines that frame a body, and the body.
    fn body(&mut self) -> (Vec<Vec<u8>>, Vec<u8>) {
        let kind = self.random.below(3);
        if kind == 0 {
            return (vec![], vec![]);
        }
        let data: [&[u8]; 6] = [
            b"hello",
            b"",
            b"\r\n\r\n",
            b"0\r\n\r\n",
            b"GET /private HTTP/1.1\r\nHost: a\r\n\r\n",
            b"5\r\nhello\r\n",
        ];
        let data = data[self.random.below(data.len())];
        let odd_length = if self.is_odd() { self.random.below(3) as i64 - 1 } else { 0 };
        let mut length = (data.len() as i64 + odd_length).to_string().into_bytes();
        if self.is_odd() {
            length = [self.one_of(LENGTHS), &length].concat();
        }
        if self.is_odd() {
            length.extend(self.one_of(LENGTH_TAILS));
        }
        let mut lines = vec![];
        let both = self.is_odd();
        if kind == 1 || both {
            lines.push(self.line(b"Content-Length", &length));
        }
        if kind == 1 && !both {
            return (lines, data.to_vec());
        }
        let coding = self.or_odd(b"chunked", CODINGS);
        lines.push(self.line(b"Transfer-Encoding", coding));
        let mut body = vec![];
        for _ in 0..self.random.below(3) {
            if !data.is_empty() {
                body.extend(self.chunk(data));
            }
        }
        body.extend(self.or_odd(b"0", b"|00|-0|0x0|+0|0 "));
        let extension = self.one_of(EXTENSIONS);
        body.extend(if self.is_odd() { self.one_of(ODD_EXTENSIONS) } else { extension });
        body.extend(self.or_odd(b"\r\n", ODD_ENDS));
        let trailer = self.one_of(TRAILERS);
        body.extend(if self.is_odd() { self.one_of(ODD_TRAILERS) } else { trailer });
        body.extend(self.or_odd(b"\r\n", ODD_ENDS));
        (lines, body)
    }

    fn chunk(&mut self, data: &[u8]) -> Vec<u8> {
        let len = if self.is_odd() { data.len() ^ 1 << self.random.below(5) } else { data.len() };
        let mut size = match self.random.below(3) {
            0 => format!("{len:x}"),
            1 => format!("{len:X}"),
            _ => format!("{len:04x}"),
        };
        if self.is_odd() {
            let odd = ["+", "-", "0x", " ", "f", "fffffffffffffff", "10000000000000000", "\t", "_"];
            size.insert_str(0, odd[self.random.below(odd.len())]);
        }
        let mut chunk = size.into_bytes();
        let extension = self.one_of(EXTENSIONS);
        chunk.extend(if self.is_odd() { self.one_of(ODD_EXTENSIONS) } else { extension });
        chunk.extend(self.or_odd(b"\r\n", ODD_ENDS));
        chunk.extend(data);
        chunk.extend(self.or_odd(b"\r\n", ODD_ENDS));
        chunk
    }

    /// Changes something somewhere.
    fn damage(&mut self, bytes: &mut Vec<u8>) {
        let at = self.random.below(bytes.len() + 1);
        let end = bytes.len().min(at + 1 + self.random.below(12));
        match self.random.below(6) {
            0 => drop(bytes.splice(at..at, self.one_of(TOKENS).iter().copied())),
            1 => drop(bytes.splice(at..end, self.one_of(TOKENS).iter().copied())),
            2 => drop(bytes.drain(at..end)),
            3 => {
                let again = bytes[at..end].to_vec();
                drop(bytes.splice(at..at, again));
            }
            4 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << self.random.below(8);
                }
            }
            _ => {
                let other = self.probe();
                let from = self.random.below(other.len());
                bytes.truncate(at);
                bytes.extend(&other[from..]);
            }
        }
    }
}

/// Whether every percent sign begins an escape of a byte that is not zero.
fn is_escaped(piece: &[u8]) -> bool {
    piece.split(|byte| *byte == b'%').skip(1).all(|rest| {
        let digits = rest.get(..2).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        digits && !rest.starts_with(b"00")
    })
}
