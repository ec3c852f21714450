
# Appended by XPS to the suite's client library: a client that provokes a cache.
#
# Most tests read a key once, right after it was written: a cache that learns from misses would hardly be asked. So here
#
# - a GET is asked twice, with time in between to make an entry of the miss, and the test sees the second answer;
# - after each command the key that it names, and some that were named before, are read through the port that is tested
#   and through Redis's own: they must be the same. The first of these reads also brings the key into the cache, so the
#   next command that changes it meets an entry.
#
# The note in the server's log that the suite makes at the beginning of each test is left out: it is a DEBUG command, and
# after one of these kv-cache looks at the server again before it answers anything.
#
# Where a test would notice the reads themselves it is left alone: while it has switched active expiry off, since a GET
# expires keys too, and when it sets how long ago a key was read. Units about the server's own accounts (its statistics,
# its slow log, what it monitors and tracks) are not run with this client.
#
# Run on Redis's own port, the client does the same and finds no difference.
namespace eval provoking {
    # Enough for an agent to fetch a value.
    variable pause_ms 3
    # Loops over thousands of keys would take too long: only so many commands of each test are followed up.
    variable commands_max 60
    # Keys that are read after each command.
    variable keys_max 4
    # Longer keys are not cached.
    variable key_bytes_max 250
    # Differences that may be the work of another connection are looked at so many times.
    variable looks 8
    # After these nothing is asked: they change the connection or the server, not values, or they hold up other clients.
    variable left_alone {
        acl auth client cluster command config debug discard failover hello info latency monitor multi object ping
        psubscribe psync publish pubsub punsubscribe quit replicaof role select shutdown slaveof slowlog ssubscribe
        subscribe sunsubscribe sync unsubscribe unwatch wait watch
    }

    variable is_busy 0
    variable is_expiring 1
    variable test ""
    variable commands 0
    # The database that a client has selected, by its id.
    variable database
    array set database {}
    # Lists of a database and a key, the latest first.
    variable known {}
    # Connections of our own, by port, and the database that each has selected.
    variable witness
    array set witness {}
    variable witness_database
    array set witness_database {}
}

rename ::redis::__dispatch__raw__ ::provoking::once

proc ::redis::__dispatch__raw__ {id method argv} {
    if {$::provoking::is_busy || [info command ::redis::__method__$method] ne {}} {
        return [::provoking::once $id $method $argv]
    }
    set command [string tolower $method]
    if {$command eq {debug} && [string equal -nocase [lindex $argv 0] log]} {
        return OK
    }
    set reply [::provoking::once $id $method $argv]
    # Not replies that the test reads by itself.
    if {!$::redis::blocking($id) || $::redis::deferred($id) || $::redis::readraw($id)} {
        return $reply
    }
    if {$command eq {debug} && [string equal -nocase [lindex $argv 0] set-active-expire]} {
        set ::provoking::is_expiring [lindex $argv 1]
    }
    if {$command eq {select} || $command eq {reset}} {
        set ::provoking::database($id) [expr {$command eq {select} ? [lindex $argv 0] : 0}]
    }
    if {$reply eq {QUEUED} || ![::provoking::is_wanted $command $argv]} {
        return $reply
    }
    if {$command eq {get}} {
        after $::provoking::pause_ms
        set reply [::provoking::once $id $method $argv]
    }
    set ::provoking::is_busy 1
    set failed [catch {::provoking::follow $id $argv} problem]
    set ::provoking::is_busy 0
    if {$failed} {
        error "the provoking client failed after $command: $problem" $::errorInfo
    }
    return $reply
}

proc ::provoking::is_wanted {command argv} {
    variable test
    variable commands
    if {!$::provoking::is_expiring || $command in $::provoking::left_alone} {
        return 0
    }
    if {[lsearch -nocase -exact $argv idletime] >= 0} {
        return 0
    }
    if {$test ne $::cur_test} {
        set test $::cur_test
        set commands 0
    }
    expr {[incr commands] <= $::provoking::commands_max}
}

# Reads what a command may have changed, and what it named.
proc ::provoking::follow {id argv} {
    variable known
    variable database
    if {![info exists database($id)]} {
        set database($id) 0
    }
    set key [lindex $argv 0]
    set length [string length $key]
    set is_new 0
    if {$length > 0 && $length <= $::provoking::key_bytes_max} {
        set named [list $database($id) $key]
        set is_new [expr {$named ni $known}]
        set known [lrange [linsert [lsearch -all -inline -not -exact $known $named] 0 $named] \
            0 $::provoking::keys_max-1]
    }
    set kept {}
    foreach {pair} $known {
        lassign $pair db key
        set answer [::provoking::compare $db $key]
        # What holds no string is not cached, and need not be looked at until it is named again.
        if {[lindex $answer 0] eq {value} && [lindex $answer 1] ne {}} {
            lappend kept $pair
        }
    }
    set known $kept
    if {[llength $kept] > 0} {
        after $::provoking::pause_ms
    }
}

# The answer to GET, the same on both ports; anything else is a failure of the current test.
proc ::provoking::compare {db key} {
    for {set look 0} {$look < $::provoking::looks} {incr look} {
        after [expr {$look * $look}]
        set tested [::provoking::ask $::port $db $key]
        set own [::provoking::ask $::env(XPS_REDIS_PORT) $db $key]
        if {$tested eq $own} {
            return $own
        }
    }
    set shown [list [string range $tested 0 99] [string range $own 0 99]]
    send_data_packet $::test_server_fd err "$::cur_test\nGET $key in database $db: \
        [lindex $shown 0] through port $::port, [lindex $shown 1] from Redis itself"
    return $own
}

# What GET says on a port: value and the value, or error and the error.
proc ::provoking::ask {port db key} {
    variable witness
    variable witness_database
    if {[catch {
        if {![info exists witness($port)]} {
            set witness($port) [redis $::host $port 0 $::tls]
            set witness_database($port) 0
        }
        if {$witness_database($port) ne $db} {
            $witness($port) select $db
            set witness_database($port) $db
        }
        $witness($port) get $key
    } answer]} {
        # Refused, or the connection is gone: tests kill connections.
        if {[string match "I/O error*" $answer] || [string match "can not find channel*" $answer]} {
            catch {$witness($port) close}
            unset -nocomplain witness($port)
        }
        return [list error $answer]
    }
    return [list value $answer]
}
