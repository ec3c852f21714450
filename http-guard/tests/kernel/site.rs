//! What Nginx serves.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::Result;

use crate::PATIENCE;
use crate::client::Client;
use crate::lab::{PAGE, PLAIN, TOLD};
use crate::namespace::Place;
use crate::process::Process;

/// Bytes of `/files/much`.
pub(crate) const MUCH_BYTES: usize = 1 << 20;

/// Bytes of `/files/unguarded`.
pub(crate) const UNGUARDED_BYTES: usize = 1_250;

/// What Nginx does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Site {
    /// It serves a file.
    Files,
    /// It serves files below `/files/`, and logs how it has read each request (`seen.log`: the client's port, the answer's
    /// status, bytes of the body, method, host, path). What is not a file it passes on to itself, so that it has the length of
    /// the body.
    Logging,
}

impl Site {
    /// The server of both ports, and what it needs.
    fn servers(self, path: &Path) -> String {
        let path = path.display();
        let listen = format!(
            "listen {PLAIN}; listen [::]:{PLAIN}; listen {TOLD} proxy_protocol;\n\
             set_real_ip_from 127.0.0.1; real_ip_header proxy_protocol;"
        );
        match self {
            Self::Files => format!("server {{ {listen} root {path}/www; }}\n"),
            Self::Logging => format!(
                "log_format seen '$remote_port $status $upstream_http_x_body $request_method $host $uri';\n\
                 server {{ {listen} root {path}/www; access_log {path}/access.log own; access_log {path}/seen.log seen;\n\
                 location = /index.html {{ }} location /files/ {{ }}\n\
                 location / {{ proxy_pass http://unix:{path}/passed.sock; proxy_http_version 1.1;\n\
                 proxy_ignore_client_abort on; proxy_set_header Host passed; client_max_body_size 0; }} }}\n\
                 server {{ listen unix:{path}/passed.sock; access_log off; client_max_body_size 0;\n\
                 location / {{ add_header X-Body $content_length; return 200 ok; }} }}\n"
            ),
        }
    }

    /// Starts Nginx.
    pub(crate) fn start(self, folder: &tempfile::TempDir, place: &Place) -> Result<Process> {
        let servers = self.servers(folder.path());
        let path = folder.path().display();
        let www = folder.path().join("www");
        std::fs::create_dir_all(www.join("files"))?;
        std::fs::write(www.join("index.html"), PAGE)?;
        std::fs::write(www.join("files/much"), "m".repeat(MUCH_BYTES))?;
        std::fs::write(www.join("files/unguarded"), "u".repeat(UNGUARDED_BYTES))?;
        let configuration = format!(
            "daemon off; master_process off; pid {path}/nginx.pid; error_log stderr;\n\
             events {{ worker_connections 1024; }}\n\
             http {{\n\
             keepalive_requests 1000000;\n\
             types {{ text/html html; text/css css; text/javascript js; image/svg+xml svg; }}\n\
             log_format own '$remote_addr $request $status'; access_log {path}/access.log own;\n\
             client_body_temp_path {path}/body; proxy_temp_path {path}/proxy; fastcgi_temp_path {path}/fastcgi;\n\
             uwsgi_temp_path {path}/uwsgi; scgi_temp_path {path}/scgi;\n\
             {servers}}}\n"
        );
        let file = folder.path().join("nginx.conf");
        std::fs::write(&file, configuration)?;
        let mut command = place.command("/usr/sbin/nginx");
        command.arg("-p").arg(folder.path()).arg("-c").arg(&file);
        let mut nginx = Process::start(&mut command, folder.path(), "nginx")?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, PLAIN));
        nginx.until(PATIENCE, || Client::connect(place, address).ok())?;
        Ok(nginx)
    }
}
