// Locks of go-redsync over the servers in the arguments. Each line of the input is a verb and a name; the answer is true,
// false, taken or the error.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/go-redsync/redsync/v4"
	"github.com/go-redsync/redsync/v4/redis"
	"github.com/go-redsync/redsync/v4/redis/goredis/v9"
	client "github.com/redis/go-redis/v9"
)

func answer(ok bool, err error) string {
	var taken *redsync.ErrTaken
	switch {
	case errors.As(err, &taken):
		return "taken"
	case err != nil:
		return strings.ReplaceAll(err.Error(), "\n", " ")
	default:
		return fmt.Sprint(ok)
	}
}

func main() {
	pools := []redis.Pool{}
	for _, address := range os.Args[1:] {
		pools = append(pools, goredis.NewPool(client.NewClient(&client.Options{Addr: address})))
	}
	locks := redsync.New(pools...)
	held := map[string]*redsync.Mutex{}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		verb, name, _ := strings.Cut(lines.Text(), " ")
		switch verb {
		case "acquire":
			mutex := locks.NewMutex(name, redsync.WithTries(1), redsync.WithExpiry(time.Minute))
			err := mutex.Lock()
			if err == nil {
				held[name] = mutex
			}
			fmt.Println(answer(err == nil, err))
		case "extend":
			fmt.Println(answer(held[name].Extend()))
		case "valid":
			fmt.Println(answer(held[name].Valid()))
		case "release":
			fmt.Println(answer(held[name].Unlock()))
		}
	}
}
