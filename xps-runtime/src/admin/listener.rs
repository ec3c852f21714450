//! Where the admin interface listens.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::{TcpListener, UnixListener};

use super::address::Address;

/// Only for whom the sidecar runs as.
const MODE: u32 = 0o600;

/// A listener.
#[derive(Debug)]
pub enum Listener {
    /// On an IP address.
    Tcp(TcpListener),
    /// On a unix socket.
    Unix(UnixListener, SocketFile),
}

/// The file of a unix socket; removed when dropped, if it still is the same.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::metadata(&self.path).is_ok_and(|file| file.ino() == self.inode) {
            // Nothing follows from one that stays: the next start removes it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Why nothing listens.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} for status and metrics; stop what listens there or set listen.admin")]
pub struct ListenError {
    address: Address,
    source: io::Error,
}

/// Listens for the admin interface.
///
/// # Errors
/// If the address is in use or not of this machine; the error says what to do.
pub async fn listen(address: &Address) -> Result<Listener, ListenError> {
    let listening = match address {
        Address::Tcp(address) => TcpListener::bind(address).await.map(Listener::Tcp),
        Address::Unix(path) => listen_at(path),
    };
    listening.map_err(|source| ListenError { address: address.clone(), source })
}

fn listen_at(path: &Path) -> io::Result<Listener> {
    let (socket, file) = bind_private(path, Type::STREAM)?;
    socket.listen(128)?;
    Ok(Listener::Unix(UnixListener::from_std(OwnedFd::from(socket).into())?, file))
}

/// A socket that does not block, in a file that is only for whom the sidecar runs as. One that a killed sidecar left is
/// replaced.
///
/// # Errors
/// If the system refuses, as where somebody else listens.
pub fn bind_private(path: &Path, kind: Type) -> io::Result<(Socket, SocketFile)> {
    let address = SockAddr::unix(path)?;
    remove_stale(path, &address, kind);
    let socket = Socket::new(Domain::UNIX, kind, None)?;
    // The file gets the mode that the socket has when it is bound, so it is never open to others, not for a moment
    // (unix_bind_bsd in https://git.kernel.org/pub/scm/linux/kernel/git/torvalds/linux.git/tree/net/unix/af_unix.c).
    let file = File::from(OwnedFd::from(socket));
    file.set_permissions(Permissions::from_mode(MODE))?;
    let socket = Socket::from(OwnedFd::from(file));
    socket.bind(&address)?;
    socket.set_nonblocking(true)?;
    let inode = fs::metadata(path)?.ino();
    Ok((socket, SocketFile { path: path.to_owned(), inode }))
}

/// Removes the socket of a sidecar that was killed: one that nobody listens on.
fn remove_stale(path: &Path, address: &SockAddr, kind: Type) {
    let socket = fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    let nobody = || {
        let connected = Socket::new(Domain::UNIX, kind, None).and_then(|socket| socket.connect(address));
        connected.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    };
    if socket && nobody() {
        // If that fails, binding tells.
        let _ = fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_unix_socket_is_private_replaces_a_dead_one_and_goes_at_the_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("admin.sock");
        let address = Address::Unix(path.clone());
        // What a killed sidecar leaves: bound, and closed without being removed.
        drop(std::os::unix::net::UnixListener::bind(&path).expect("a socket"));
        let listener = listen(&address).await.expect("a listener in place of the dead one");
        let mode = fs::metadata(&path).expect("the socket").permissions().mode();
        assert_eq!(mode & 0o777, MODE);
        let error = listen(&address).await.expect_err("somebody listens there");
        assert!(error.to_string().contains("admin.sock for status"), "{error:#}");
        drop(listener);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn no_file_that_is_not_a_socket_is_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("precious");
        fs::write(&path, "x").expect("a file");
        listen(&Address::Unix(path.clone())).await.expect_err("a file is there");
        assert!(path.exists());
    }
}
