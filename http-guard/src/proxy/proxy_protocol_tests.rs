use super::*;

fn ends(client: &str, server: &str) -> Ends {
    Ends { client: client.parse().unwrap(), server: server.parse().unwrap() }
}

fn header(bytes: &[u8], expected: Option<Ends>) {
    let whole = [bytes, b"GET / HTTP/1.1\r\n"].concat();
    assert_eq!(read(&whole), Ok(Start::Header(bytes.len(), expected)), "{bytes:?}");
    for len in 0..bytes.len() {
        assert_eq!(read(&bytes[..len]), Ok(Start::More), "{len} bytes of {bytes:?}");
    }
}

#[test]
fn examples_of_the_first_version() {
    header(
        b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n",
        Some(ends("192.168.0.1:56324", "192.168.0.11:443")),
    );
    header(
        b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
        Some(ends("255.255.255.255:65535", "255.255.255.255:65535")),
    );
    header(
        b"PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
        Some(ends(
            "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
            "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
        )),
    );
    header(b"PROXY UNKNOWN\r\n", None);
    header(
        b"PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
        None,
    );
}

#[test]
fn what_is_no_header_of_the_first_version() {
    for line in [
        "GET / HTTP/1.1\r\n",
        "PROXY  TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n",
        "PROXY TCP4 192.0.2.01 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n",
        "PROXY TCP4 192.0.2.1 2001:db8::1 1 2\r\n",
        "PROXY TCP6 192.0.2.1 2001:db8::1 1 2\r\n",
        "PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n\r\n",
        "PROXY \u{e9} \r\n",
        "proxy TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
    ] {
        assert_eq!(read(line.as_bytes()), Err(NoHeader), "{line:?}");
    }
    let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(TEXT_BYTES_MAX));
    assert_eq!(read(long.as_bytes()), Err(NoHeader));
    assert_eq!(read(&long.as_bytes()[..TEXT_BYTES_MAX - 1]), Ok(Start::More));
}

#[test]
fn examples_of_the_second_version() {
    let of_four =
        [SIGNATURE, &[0x21, 0x11, 0, 12, 192, 0, 2, 1, 198, 51, 100, 2, 0xdc, 0x04, 1, 0xbb][..]].concat();
    header(&of_four, Some(ends("192.0.2.1:56324", "198.51.100.2:443")));
    let ipv6 = ends("[2001:db8::1]:5", "[2001:db8::2]:443");
    header(&binary_header(&ipv6), Some(ipv6));
    // What comes behind the addresses is left alone.
    let mut more = of_four.clone();
    more[15] = 16;
    more.extend([4, 0, 1, 0]);
    header(&more, Some(ends("192.0.2.1:56324", "198.51.100.2:443")));
    // A health check of the balancer itself.
    header(&[SIGNATURE, &[0x20, 0, 0, 0][..]].concat(), None);
    header(&[SIGNATURE, &[0x20, 0x11, 0, 12][..], &[9; 12]].concat(), None);
    header(&[SIGNATURE, &[0x21, 0, 0, 3, 1, 2, 3][..]].concat(), None);
}

#[test]
fn what_is_no_header_of_the_second_version() {
    for rest in [
        [0x11, 0x11, 0, 12],
        [0x22, 0x11, 0, 12],
        [0x21, 0x12, 0, 12],
        [0x21, 0x31, 0, 216],
        [0x21, 0x11, 0, 11],
        [0x21, 0x21, 0, 35],
        [0x21, 0x11, 0xff, 0xff],
    ] {
        let bytes = [SIGNATURE, &rest[..], &[0; 40]].concat();
        assert_eq!(read(&bytes), Err(NoHeader), "{rest:?}");
    }
    assert_eq!(read(b"\r\n\r\nGET"), Err(NoHeader));
}

#[test]
fn headers_that_are_written_can_be_read() {
    for (client, server, first) in [
        ("192.0.2.1:1", "192.0.2.2:80", "PROXY TCP4 192.0.2.1 192.0.2.2 1 80\r\n"),
        ("[2001:db8::1]:1", "[2001:db8::2]:80", "PROXY TCP6 2001:db8::1 2001:db8::2 1 80\r\n"),
        ("192.0.2.1:1", "[2001:db8::2]:80", "PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 1 80\r\n"),
        ("[::ffff:192.0.2.1]:0", "192.0.2.2:80", "PROXY TCP4 192.0.2.1 192.0.2.2 0 80\r\n"),
    ] {
        let given = ends(client, server);
        assert_eq!(text_header(&given), first.as_bytes());
        let canonical = |end: SocketAddr| SocketAddr::new(end.ip().to_canonical(), end.port());
        let read_back = Ends { client: canonical(given.client), server: canonical(given.server) };
        header(&text_header(&given), Some(read_back));
        header(&binary_header(&given), Some(read_back));
    }
}
