# SPDX-License-Identifier: BSD-2-Clause
#
#   make            the library and the programs
#   make deps       installs what the build and the tests need, by package name (Debian 12)
#   make demo       deps, build, and the main job on a scratch directory
#   make check      deps aside, everything that proves the build; make check-asan, check-tsan: the same, instrumented
#   make check-vm   of check: the monitor's, with Linux in a testbed
#   make fuzz       libFuzzer on every target, FUZZ_SECONDS each
#   make crash      power cuts, failing storage and kill -9 at length: a million states (CRASH_STATES)
#   make mutants    deliberate faults, one at a time: the tests must find each of them
#   make bench      ours against qemu-img, fio and cp: tables and plots in build/bench (bench/run.sh tells its variables)
#   make bench-vm   our machine against QEMU, in the testbed (bench/machines.sh)
#   make lint       cppcheck, shellcheck, man pages
#   make install    DESTDIR and PREFIX are honoured
#
# A .c file in disk/, vhd/, vhdx/, odx/ or replica/ is part of the library by standing there, one in vmm/, scsi/,
# base/ or net/ of the monitor, one in cli/ of the programs (hv*.c of hv), one in fuse/ of vdisk-fuse, one in ntfs/ of vdisk-ntfs, one in nbd/ of the plugin for
# nbdkit, one in control/ of those that have a disk open, and each tests/<dir>/<name>.c is one test program. Everything made goes to build/, one folder
# a variant.

VERSION  := 0.1.0
SOVERSION := 0

PREFIX     ?= /usr/local
BINDIR     ?= $(PREFIX)/bin
LIBDIR     ?= $(PREFIX)/lib
LIBEXECDIR ?= $(PREFIX)/libexec/vdisk
PLUGINDIR  ?= $(LIBDIR)/nbdkit/plugins
INCLUDEDIR ?= $(PREFIX)/include
MANDIR     ?= $(PREFIX)/share/man
DESTDIR    ?=

# ---- Variants: VARIANT=asan, tsan, or anything with EXTRA flags of its own ----

VARIANT ?=
ifeq ($(VARIANT),)
BUILD ?= build
else
BUILD ?= build/$(VARIANT)
endif
SANITIZE_asan := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
SANITIZE_tsan := -fsanitize=thread -fno-omit-frame-pointer
SANITIZE_fuzz := -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
SANITIZE := $(SANITIZE_$(VARIANT))

CFLAGS   ?= -O2 -g
# KVM's structs end in what the caller puts behind them: clang warns of that, gcc does not know the warning.
WARNINGS := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wno-gnu-variable-sized-type-not-at-end
PACKAGES := liburing jansson libcrypto libisal uuid fdisk blkid ext2fs
PKG      := $(shell pkg-config --cflags $(PACKAGES) 2>/dev/null)
ALL_CFLAGS = -std=gnu11 -pthread -fPIC -fno-semantic-interposition -I. -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 $(WARNINGS) \
             $(PKG) $(SANITIZE) $(CFLAGS) $(EXTRA)
ALL_LDFLAGS = -pthread -Wl,--as-needed $(SANITIZE) $(LDFLAGS)

LIB_LIBS  := $(shell pkg-config --libs liburing libisal uuid 2>/dev/null) -laio
CLI_LIBS  := $(shell pkg-config --libs jansson fdisk blkid ext2fs 2>/dev/null)
FUSE_LIBS := $(shell pkg-config --libs fuse3 blkid 2>/dev/null && pkg-config --libs jansson)
NTFS_LIBS := $(shell pkg-config --libs libntfs-3g 2>/dev/null)
NBD_LIBS  := $(shell pkg-config --libs jansson 2>/dev/null)
VMM_LIBS  := -lslirp -lseccomp
TEST_LIBS := $(LIB_LIBS) $(VMM_LIBS) $(shell pkg-config --libs cmocka jansson 2>/dev/null)

# ---- Sources ----

LIB_SRC  := $(sort $(wildcard disk/*.c vhd/*.c vhdx/*.c odx/*.c replica/*.c lib/*.c))
CLI_SRC  := $(filter-out cli/hv%,$(sort $(wildcard cli/*.c)))
HV_SRC   := $(sort $(wildcard cli/hv*.c)) $(addprefix cli/,message.c open.c options.c program.c progress.c size.c)
CONTROL_SRC := $(sort $(wildcard control/*.c))
FUSE_SRC := $(sort $(wildcard fuse/*.c))
NTFS_SRC := $(sort $(wildcard ntfs/*.c)) base/sandbox.c
NBD_SRC  := $(sort $(wildcard nbd/*.c))
VMM_SRC  := $(sort $(wildcard vmm/*.c scsi/*.c base/*.c net/*.c))
TEST_SRC := $(filter-out $(if $(FUSE_LIBS),,tests/unit/fuse_%),$(sort $(wildcard tests/*/*.c)))
TEST_AID := $(sort $(wildcard tests/*.c))   # shared by all test programs

LIB_OBJ  := $(LIB_SRC:%.c=$(BUILD)/%.o)
CONTROL_OBJ := $(CONTROL_SRC:%.c=$(BUILD)/%.o)
CLI_OBJ  := $(CLI_SRC:%.c=$(BUILD)/%.o) $(CONTROL_OBJ)
HV_OBJ   := $(HV_SRC:%.c=$(BUILD)/%.o) $(CONTROL_OBJ)
FUSE_OBJ := $(FUSE_SRC:%.c=$(BUILD)/%.o) $(CONTROL_OBJ)
NTFS_OBJ := $(NTFS_SRC:%.c=$(BUILD)/%.o)
NBD_OBJ  := $(NBD_SRC:%.c=$(BUILD)/%.o) $(CONTROL_OBJ)
VMM_OBJ  := $(VMM_SRC:%.c=$(BUILD)/%.o)
TEST_BIN := $(TEST_SRC:%.c=$(BUILD)/%)
AID_OBJ  := $(TEST_AID:%.c=$(BUILD)/%.o)
MAN      := $(wildcard man/*.1)
# Small guests of our own for tests of the monitor, by the boot protocol of Linux.
GUESTS   := $(patsubst tests/vm/guests/%.S,$(BUILD)/vm-guests/%,$(filter-out %/header.S,$(wildcard tests/vm/guests/*.S)))

# Fuzz targets have a variant of their own: VARIANT=fuzz, by clang.
FUZZ_SRC := $(sort $(wildcard tests/fuzz/targets/*.c))
FUZZ_AID := $(sort $(wildcard tests/fuzz/common/*.c)) tests/support.c
FUZZ_BIN := $(FUZZ_SRC:tests/fuzz/targets/%.c=$(BUILD)/fuzz/%)
FUZZ_WRAP := file_open uuid_generate uuid_generate_random worker_give

SONAME := libvdisk.so.$(SOVERSION)
SHARED := $(BUILD)/$(SONAME)
STATIC := $(BUILD)/libvdisk.a
# The monitor without its program: hv and the tests link with it.
VMM := $(BUILD)/libvmm.a

# The helpers are made where what they stand on is installed; nbdkit loads no instrumented plugin.
FUSE_BIN := $(if $(FUSE_LIBS),$(BUILD)/vdisk-fuse)
NTFS_BIN := $(if $(NTFS_LIBS),$(BUILD)/vdisk-ntfs)
NBD_BIN  := $(if $(SANITIZE),,$(if $(shell pkg-config --exists nbdkit && echo yes),$(BUILD)/nbdkit-vdisk-plugin.so))

.PHONY: all tests deps demo check check-vm check-asan check-tsan crash mutants fuzz fuzz-targets bench bench-vm lint format install uninstall clean FORCE
.DELETE_ON_ERROR:
.SECONDARY:

# make V=1 shows the commands themselves.
Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-5s %s\n' '$(1)' '$@')

all: $(BUILD)/vdisk $(BUILD)/hv $(SHARED) $(STATIC) $(VMM) $(FUSE_BIN) $(NTFS_BIN) $(NBD_BIN)

$(BUILD)/vdisk: $(CLI_OBJ) $(SHARED)
	$(call say,LINK)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $(CLI_OBJ) -L$(BUILD) -l:$(SONAME) -Wl,-rpath,'$$ORIGIN' $(CLI_LIBS)

$(BUILD)/hv: $(HV_OBJ) $(VMM) $(SHARED)
	$(call say,LINK)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $(HV_OBJ) $(VMM) -L$(BUILD) -l:$(SONAME) -Wl,-rpath,'$$ORIGIN' $(VMM_LIBS) $(CLI_LIBS)

$(FUSE_SRC:%.c=$(BUILD)/%.o) $(BUILD)/tests/unit/fuse_request.o: PKG += $(shell pkg-config --cflags fuse3 blkid 2>/dev/null)

$(BUILD)/vdisk-fuse: $(FUSE_OBJ) $(SHARED)
	$(call say,LINK)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $(FUSE_OBJ) -L$(BUILD) -l:$(SONAME) -Wl,-rpath,'$$ORIGIN' $(FUSE_LIBS)

# Not linked with the library: libntfs-3g is under the GPL.
$(BUILD)/vdisk-ntfs: $(NTFS_OBJ)
	$(call say,LINK)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $(NTFS_OBJ) $(NTFS_LIBS) -lseccomp

$(BUILD)/nbdkit-vdisk-plugin.so: $(NBD_OBJ) $(SHARED)
	$(call say,LINK)
	$(Q)$(CC) $(ALL_LDFLAGS) -shared -o $@ $(NBD_OBJ) -L$(BUILD) -l:$(SONAME) -Wl,-rpath,'$$ORIGIN' $(NBD_LIBS)

$(SHARED): $(LIB_OBJ) lib/vdisk.map
	$(call say,LINK)
	$(Q)$(CC) $(ALL_LDFLAGS) -shared -Wl,-soname,$(SONAME) -Wl,--version-script=lib/vdisk.map -o $@ $(LIB_OBJ) $(LIB_LIBS)
	@ln -sf $(SONAME) $(BUILD)/libvdisk.so

$(STATIC): $(LIB_OBJ)
	$(call say,AR)
	@rm -f $@
	$(Q)$(AR) rcs $@ $(LIB_OBJ)

$(VMM): $(VMM_OBJ)
	$(call say,AR)
	@rm -f $@
	$(Q)$(AR) rcs $@ $(VMM_OBJ)

# The compiler and its flags: objects are made again when they change.
$(BUILD)/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(CC) $(ALL_CFLAGS) $(VERSION)' | cmp -s - $@ || echo '$(CC) $(ALL_CFLAGS) $(VERSION)' > $@

$(BUILD)/%.o: %.c $(BUILD)/flags
	$(call say,CC)
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) -DVDISK_VERSION='"$(VERSION)"' -MMD -MP -c -o $@ $<

# The machine's ACPI namespace, compiled.
$(BUILD)/vmm/acpi.o: private PKG += -I$(BUILD)
$(BUILD)/vmm/acpi.o: $(BUILD)/vmm/dsdt.hex

$(BUILD)/vmm/dsdt.hex: vmm/dsdt.asl
	$(call say,ASL)
	@mkdir -p $(@D)
	$(Q)iasl -ve -vs -tc -p $(BUILD)/vmm/dsdt $< >$(BUILD)/vmm/dsdt.log || { cat $(BUILD)/vmm/dsdt.log >&2; exit 1; }

tests: $(TEST_BIN) $(GUESTS)

# NAME.S begins with the header; NAME.c, if there is one, follows it. What they may use: what KVM emulates.
GUEST_FLAGS := -ffreestanding -nostdlib -static -fno-pic -fno-stack-protector -fcf-protection=none -mno-red-zone \
               -mgeneral-regs-only -O1 -Wall -Wextra -Itests/vm/guests -Wl,-N,-Ttext=0xfffc00,--oformat=binary,-e,0,--build-id=none
$(BUILD)/vm-guests/%: tests/vm/guests/%.S tests/vm/guests/header.S $(wildcard tests/vm/guests/*.c)
	$(call say,GUEST)
	@mkdir -p $(@D)
	$(Q)$(CC) $(GUEST_FLAGS) -no-pie -o $@ $< $(wildcard $(<:.S=.c))

$(BUILD)/tests/%: $(BUILD)/tests/%.o $(AID_OBJ) $(CONTROL_OBJ) $(STATIC) $(VMM)
	$(call say,LINK)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $< $(AID_OBJ) $(CONTROL_OBJ) $(VMM) $(STATIC) $(TEST_LIBS)

# The test of memory that runs out has a library whose calls for memory and threads are the test's.
SCARCE := malloc calloc realloc aligned_alloc strdup asprintf pthread_create
$(BUILD)/tests/crash/memory: $(BUILD)/tests/crash/memory.o $(AID_OBJ) $(STATIC)
	$(call say,LINK)
	$(Q)objcopy $(foreach name,$(SCARCE),--redefine-sym $(name)=scarce_$(name)) $(STATIC) $@.a
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $< $(AID_OBJ) $@.a $(TEST_LIBS)

# The tests of merges, moves and snapshots have files of their own behind the library's paths; the last a directory too.
$(BUILD)/tests/crash/merge: LDFLAGS += -Wl,--wrap=file_open,--wrap=file_reopen,--wrap=file_remove
NAMES_WRAP := file_open file_sync_directory renameat2 unlink
$(BUILD)/tests/crash/move $(BUILD)/tests/crash/move_faults: LDFLAGS += $(NAMES_WRAP:%=-Wl,--wrap=%)
SNAPSHOT_WRAP := file_open file_reopen file_remove file_sync_directory renameat2 unlink port_pause
$(BUILD)/tests/crash/snapshot: LDFLAGS += $(SNAPSHOT_WRAP:%=-Wl,--wrap=%)
# Directories, of which no sync or only that succeeds which the test lets.
$(BUILD)/tests/unit/unsynced: LDFLAGS += -Wl,--wrap=fsync,--wrap=unlink,--wrap=open64,--wrap=port_pause
# A kernel that refuses what a ring gives it, in that of rings.
$(BUILD)/tests/unit/ring: LDFLAGS += -Wl,--wrap=io_uring_submit,--wrap=io_uring_submit_and_wait
# What a relink makes durable is seen, and fails, in that of relinks.
$(BUILD)/tests/unit/relink: LDFLAGS += -Wl,--wrap=file_sync,--wrap=file_sync_directory

fuzz-targets: $(FUZZ_BIN)

ifeq ($(VARIANT),fuzz)
# What the harness compares is no news to libFuzzer.
$(FUZZ_AID:%.c=$(BUILD)/%.o): SANITIZE := $(SANITIZE_asan)
endif

$(BUILD)/fuzz/%: $(BUILD)/tests/fuzz/targets/%.o $(FUZZ_AID:%.c=$(BUILD)/%.o) $(VMM) $(STATIC)
	$(call say,LINK)
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_LDFLAGS) -fsanitize=fuzzer $(FUZZ_WRAP:%=-Wl,--wrap=%) -o $@ $^ $(LIB_LIBS) $(VMM_LIBS)

-include $(FUZZ_SRC:%.c=$(BUILD)/%.d) $(FUZZ_AID:%.c=$(BUILD)/%.d)
-include $(LIB_OBJ:.o=.d) $(CLI_OBJ:.o=.d) $(HV_OBJ:.o=.d) $(FUSE_OBJ:.o=.d) $(NTFS_OBJ:.o=.d) $(NBD_OBJ:.o=.d) $(VMM_OBJ:.o=.d) $(TEST_SRC:%.c=$(BUILD)/%.d) $(AID_OBJ:.o=.d)

# ---- What is done with it ----

deps:
	@scripts/deps.sh

demo: deps
	@$(MAKE) --no-print-directory all
	@VDISK=$(abspath $(BUILD))/vdisk scripts/demo.sh

# TESTS="tests/cli tests/unit/endian" runs these only.
check: all tests
	@BUILD=$(BUILD) TESTS='$(TESTS)' scripts/run-tests.sh

# Machines: the small guests on /dev/kvm as it is here, and Linux in the testbed. VM_FULL=1: in every way, from every bus.
check-vm: all tests
	@BUILD=$(BUILD) TESTS=tests/vm TEST_TIMEOUT=$${TEST_TIMEOUT:-$(if $(VM_FULL),3600,900)} scripts/run-tests.sh

# Instrumented code is slow: the randomized tests do fewer operations there.
check-asan check-tsan: check-%:
	@MODEL_OPS=$${MODEL_OPS:-50000} CRASH_STATES=$${CRASH_STATES:-1000} CRASH_SAMPLES=0 FAULT_STEP=$${FAULT_STEP:-6} \
	MEMORY_STEP=$${MEMORY_STEP:-25} KILL_ROUNDS=$${KILL_ROUNDS:-50} $(MAKE) --no-print-directory VARIANT=$* check

crash: all tests
	@CRASH_STATES=$${CRASH_STATES:-1000000} CRASH_SAMPLES=$${CRASH_SAMPLES:-400} FAULT_POINTS=$${FAULT_POINTS:-30000} \
	KILL_ROUNDS=$${KILL_ROUNDS:-3000} MERGE_STATES=$${MERGE_STATES:-100000} SNAPSHOT_STATES=$${SNAPSHOT_STATES:-100000} \
	TEST_TIMEOUT=$${TEST_TIMEOUT:-86400} BUILD=$(BUILD) TESTS=tests/crash \
	scripts/run-tests.sh

# MUTANTS="grace-skipped vhd-bitmap-swapped" tries these only.
mutants:
	@BUILD=$(BUILD)/mutants tests/mutants.sh $(MUTANTS)

# FUZZ_SECONDS for each target, 600 by default, another seed each time; what is learned stays in $(BUILD)/fuzz/corpus.
fuzz:
	@mkdir -p $(BUILD)/fuzz/corpus
	@SRC=$(CURDIR) BUILD=$(abspath $(BUILD)) FUZZ_CORPUS=$(abspath $(BUILD))/fuzz/corpus \
	 FUZZ_SECONDS=$${FUZZ_SECONDS:-600} FUZZ_SEED=$${FUZZ_SEED:-0} tests/fuzz/fuzz.sh

bench: all
	@BUILD=$(BUILD) bench/run.sh

# Our machine against QEMU's, in the testbed; as root.
bench-vm: all
	@BUILD=$(BUILD) bench/machines.sh

lint:
	@scripts/lint.sh

format:
	clang-format -i $(wildcard */*.c */*.h tests/*/*.c tests/*/*.h tests/fuzz/*/*.c tests/fuzz/*/*.h)

# Where the system does not look for libraries, the program has to.
RPATH = $(if $(filter /usr/lib /usr/lib/% /usr/local/lib,$(LIBDIR)),,-Wl$(comma)-rpath$(comma)$(LIBDIR))
comma := ,

install: all
	install -d $(DESTDIR)$(BINDIR) $(DESTDIR)$(LIBDIR)/pkgconfig $(DESTDIR)$(INCLUDEDIR) $(DESTDIR)$(MANDIR)/man1
	install -m 644 $(SHARED) $(DESTDIR)$(LIBDIR)/$(SONAME)
	ln -sf $(SONAME) $(DESTDIR)$(LIBDIR)/libvdisk.so
	install -m 644 disk/vdisk.h $(DESTDIR)$(INCLUDEDIR)/vdisk.h
	sed -e 's|@PREFIX@|$(PREFIX)|; s|@LIBDIR@|$(LIBDIR)|; s|@INCLUDEDIR@|$(INCLUDEDIR)|; s|@VERSION@|$(VERSION)|' \
	    lib/vdisk.pc.in > $(DESTDIR)$(LIBDIR)/pkgconfig/vdisk.pc
	$(CC) $(ALL_CFLAGS) -DVDISK_LIBEXECDIR='"$(LIBEXECDIR)"' -DVDISK_PLUGINDIR='"$(PLUGINDIR)"' $(ALL_LDFLAGS) \
	    -o $(DESTDIR)$(BINDIR)/vdisk cli/helper.c $(filter-out %/helper.o,$(CLI_OBJ)) \
	    -L$(BUILD) -l:$(SONAME) $(RPATH) $(CLI_LIBS)
	$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $(DESTDIR)$(BINDIR)/hv $(HV_OBJ) $(VMM) \
	    -L$(BUILD) -l:$(SONAME) $(RPATH) $(VMM_LIBS) $(CLI_LIBS)
	$(if $(FUSE_BIN)$(NTFS_BIN),install -d $(DESTDIR)$(LIBEXECDIR))
	$(if $(FUSE_BIN),$(CC) $(ALL_LDFLAGS) -o $(DESTDIR)$(LIBEXECDIR)/vdisk-fuse $(FUSE_OBJ) \
	    -L$(BUILD) -l:$(SONAME) $(RPATH) $(FUSE_LIBS))
	$(if $(NTFS_BIN),install -m 755 $(NTFS_BIN) $(DESTDIR)$(LIBEXECDIR))
	$(if $(NBD_BIN),install -d $(DESTDIR)$(PLUGINDIR))
	$(if $(NBD_BIN),$(CC) $(ALL_LDFLAGS) -shared -o $(DESTDIR)$(PLUGINDIR)/nbdkit-vdisk-plugin.so $(NBD_OBJ) \
	    -L$(BUILD) -l:$(SONAME) $(RPATH) $(NBD_LIBS))
	install -m 644 $(MAN) $(DESTDIR)$(MANDIR)/man1
	@test -n '$(DESTDIR)' || ldconfig 2>/dev/null || true

uninstall:
	rm -f $(DESTDIR)$(BINDIR)/vdisk $(DESTDIR)$(BINDIR)/hv $(DESTDIR)$(LIBDIR)/$(SONAME) $(DESTDIR)$(LIBDIR)/libvdisk.so
	rm -f $(DESTDIR)$(LIBEXECDIR)/vdisk-fuse $(DESTDIR)$(LIBEXECDIR)/vdisk-ntfs $(DESTDIR)$(PLUGINDIR)/nbdkit-vdisk-plugin.so
	rm -f $(DESTDIR)$(INCLUDEDIR)/vdisk.h $(DESTDIR)$(LIBDIR)/pkgconfig/vdisk.pc
	rm -f $(MAN:man/%=$(DESTDIR)$(MANDIR)/man1/%)

clean:
	rm -rf build
