# Runs a file of SQLite's tests in a mount: `testfixture in-mount.tcl LITEFS... -- URL FILE --testdir=MOUNT`.
#
# What tests do beside SQLite has its own way into a mount, or no place there:
#
# - They make databases by copying files over them. A database comes into a mount by `litefs import`, so that is how
#   [file copy] copies one there; what SQLite keeps beside it (-wal, -journal) is copied as it is.
# - They clear away, or keep, everything that starts with "test.db": without what LiteFS shows beside it (-pos).
# - They write programs for other processes to run, which are no databases: these are put into another directory.
# - They make directories for the sake of paths that lead through them, where there are none here.

set WITHOUT_DIRECTORIES {
  "file mkdir tempdir/t1/t2/t3\n" "\n"
  "file mkdir tempdir/t1/t2\n" "\n"
  "file mkdir $p\n" "\n"
  "cd $p\n" "\n"
  ./tempdir/../tempdir/t1/.//t2/../../..// ./
  ./tempdir/t1//t2/./t3//./../..//./../../tempdir/..//test.db// ./test.db
}

rename file plain_file
rename open plain_open
rename glob plain_glob
rename exec plain_exec

proc glob {args} {
  return [lsearch -all -inline -not -glob [uplevel 1 [list plain_glob {*}$args]] *-pos]
}

proc file {subcommand args} {
  if {$subcommand eq "copy" && [llength $args] >= 2} {
    lassign [lrange $args end-1 end] from to
    if {[plain_file isdirectory $to]} { set to [plain_file join $to [plain_file tail $from]] }
    if {[is_database_here $to] && [has_database_header $from]} { return [import $from $to] }
  }
  return [uplevel 1 [list plain_file $subcommand {*}$args]]
}

proc is_database_here {path} {
  if {[plain_file dirname [plain_file normalize $path]] ne $::litefs(mount)} { return 0 }
  return [expr {![regexp {\-(wal|journal|shm|mj[0-9A-F]{9})$} $path]}]
}

proc has_database_header {path} {
  if {![plain_file isfile $path]} { return 0 }
  set in [plain_open $path rb]
  set magic [read $in 16]
  close $in
  return [expr {$magic eq "SQLite format 3\0"}]
}

# The file alone, without what lies beside it: tests copy that themselves, or leave it out.
proc import {from to} {
  set image [plain_file join $::litefs(home) import.[pid]]
  plain_file copy -force $from $image
  try {
    plain_exec {*}$::litefs(program) import --no-verify --url $::litefs(url) \
      --name [plain_file tail $to] $image 2>@1
  } finally {
    plain_file delete $image
  }
  return
}

proc open {what args} {
  set what [regsub -all {^(\|.* )?(\./)?([\w-]+\.tcl)$} $what "\\1$::litefs(home)/\\3"]
  return [uplevel 1 [list plain_open $what {*}$args]]
}

proc exec {args} {
  set args [lmap each $args {
    regsub {^(\./)?([\w-]+\.tcl)$} $each [plain_file join $::litefs(home) {\2}]
  }]
  return [uplevel 1 [list plain_exec {*}$args]]
}

set end [lsearch $argv --]
set litefs(program) [lrange $argv 0 $end-1]
set argv [lassign [lrange $argv $end+1 end] litefs(url) argv0]
regexp {^--testdir=(.*)$} [lindex $argv 0] -> litefs(mount)
set litefs(mount) [plain_file normalize $litefs(mount)]
set litefs(home) [pwd]

# As [source] does, but for the directories.
set file [plain_open $argv0]
set text [string map $WITHOUT_DIRECTORIES [read $file]]
close $file
info script $argv0
eval $text
